// Grounded captions: text without boxes, and each box with the noun phrase right before it.
import { expect, test } from 'vitest'
import { parseGroundedCaption } from '../../gpu-worker/tasks/grounded-caption.ts'
import { GroundedCaptionOutput } from '../../schemas/task-output.ts'

const B = '[[100,200,300,400]]'
const C = '[[500,600,700,800]]'

/** Answer with B and C for boxes; the text; the phrases with the number of their boxes. */
const cases: [answer: string, text: string, phrases: [string, number][]][] = [
  [
    `A dog ${B} and two apples [[100,200,300,400;500,600,700,800]].`,
    'A dog and two apples.',
    [
      ['A dog', 1],
      ['two apples', 2],
    ],
  ],
  [
    `A dog ${B}, a cat ${C}, and an owl ${B}.`,
    'A dog, a cat, and an owl.',
    [
      ['A dog', 1],
      ['a cat', 1],
      ['an owl', 1],
    ],
  ],
  [
    `There is a red car ${B} on the left of a tree ${C}.`,
    'There is a red car on the left of a tree.',
    [
      ['a red car', 1],
      ['a tree', 1],
    ],
  ],
  [
    `The image shows three birds ${B} above the house ${C}`,
    'The image shows three birds above the house',
    [
      ['three birds', 1],
      ['the house', 1],
    ],
  ],
  [
    `dogs ${B} and cats ${C}`,
    'dogs and cats',
    [
      ['dogs', 1],
      ['cats', 1],
    ],
  ],
  [
    `A group of people ${B} near some of the trees ${C}.`,
    'A group of people near some of the trees.',
    [
      ['A group of people', 1],
      ['some of the trees', 1],
    ],
  ],
  [`All the two dogs ${B}.`, 'All the two dogs.', [['All the two dogs', 1]]],
  [`A dog. A cat ${B}.`, 'A dog. A cat.', [['A cat', 1]]],
  [`A dog sits; on it, fleas ${B}!`, 'A dog sits; on it, fleas!', [['fleas', 1]]],
  [
    `A man ${B} wearing a hat ${C} walks.`,
    'A man wearing a hat walks.',
    [
      ['A man', 1],
      ['a hat', 1],
    ],
  ],
  [
    `12 sheep ${B} and 1,000 ants ${C}`,
    '12 sheep and 1,000 ants',
    [
      ['12 sheep', 1],
      ['1,000 ants', 1],
    ],
  ],
  [
    `A dog${B}and a cat${C}.`,
    'A dog and a cat.',
    [
      ['A dog', 1],
      ['a cat', 1],
    ],
  ],
  [`A dog ${B} ${C}.`, 'A dog.', [['A dog', 2]]],
  [`A dog ${B}${C} runs.`, 'A dog runs.', [['A dog', 2]]],
  [
    `A dog ${B} and a dog ${C}.`,
    'A dog and a dog.',
    [
      ['A dog', 1],
      ['a dog', 1],
    ],
  ],
  [
    `A Hund ${B} mit Äpfeln \u{1F600} und the Öl ${C}.`,
    'A Hund mit Äpfeln \u{1F600} und the Öl.',
    [
      ['A Hund', 1],
      ['the Öl', 1],
    ],
  ],
  [`Next to it is the one on the right ${B}.`, 'Next to it is the one on the right.', [['the right', 1]]],
  [`  A dog ${B}.\n`, 'A dog.', [['A dog', 1]]],
  [`A dog ${B} and a cat [[500,60`, 'A dog and a cat', [['A dog', 1]]],
  [`A dog [[5,5,5,5]] and a cat ${C}.`, 'A dog and a cat.', [['a cat', 1]]],
  [`${B} A dog ${C}`, 'A dog', [['A dog', 1]]],
  [`A dog ${B}. And ${C} it runs.`, 'A dog. And it runs.', [['A dog', 1]]],
]

test.each(cases)('parses %s', (answer, text, phrases) => {
  const parsed = parseGroundedCaption(answer)
  if (!parsed.ok) throw new Error(parsed.message)
  const output = GroundedCaptionOutput.parse(parsed.output)
  expect(output.text).toBe(text)
  expect(output.phrases.map((phrase) => [phrase.text, phrase.boxes.length])).toEqual(phrases)
  for (const phrase of output.phrases) expect(output.text.slice(phrase.start, phrase.end)).toBe(phrase.text)
})

test.each([
  ['', 'answer-empty'],
  ['  \n', 'answer-empty'],
  ['A dog and a cat.', 'answer-unparsable'],
  [B, 'answer-unparsable'],
  ['A dog [[9,9', 'answer-unparsable'],
  [`. ${B}`, 'answer-unparsable'],
])('fails on %j with %s', (answer, code) => {
  expect(parseGroundedCaption(answer)).toMatchObject({ ok: false, code })
})

test('tells what it mended', () => {
  expect(parseGroundedCaption(`A dog ${B} and a cat [[500,60`)).toMatchObject({
    repairs: ['left out a box that the answer did not finish'],
  })
  expect(parseGroundedCaption(`${B} A dog ${C}`)).toMatchObject({
    repairs: ['left out a box that follows no phrase'],
  })
})

test('never throws and keeps offsets true, over random text', () => {
  const words = [
    'A',
    'dog',
    'the',
    'and',
    ',',
    '.',
    ' ',
    '  ',
    '\n',
    B,
    C,
    '[[',
    ']]',
    'of',
    'two',
    '\u{1F600}',
    '?',
    '[[1,2',
    ';',
    '(',
  ]
  let seed = 3
  const random = (count: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % count
  for (let n = 0; n < 20_000; n += 1) {
    const answer = Array.from({ length: random(14) }, () => words[random(words.length)]).join(
      random(2) === 0 ? ' ' : '',
    )
    const parsed = parseGroundedCaption(answer)
    if (!parsed.ok) continue
    const output = GroundedCaptionOutput.parse(parsed.output)
    for (const phrase of output.phrases)
      expect(output.text.slice(phrase.start, phrase.end), answer).toBe(phrase.text)
  }
})
