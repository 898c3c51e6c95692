// What of labels is drawn, whatever their task. Pixels are tested in tests/image/draw.test.ts.
import { expect, test } from 'vitest'
import { describePicture, hasPlaces } from '../../cli/pictures.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import { recordsOf } from '../helpers/export-run.ts'

const box = [0.25, 0.5, 0.75, 1] as [number, number, number, number]
const caption = {
  text: 'A dog on grass.',
  phrases: [{ text: 'A dog', start: 0, end: 5, boxes: [box] }],
}

function records(outputs: readonly TaskOutput[]) {
  const said = outputs.map((output, ordinal) => ({ task: 'task', question: 'What?', output, ordinal }))
  return recordsOf([{ key: 'a.jpg', said }])
}

const cases: { name: string; outputs: TaskOutput[]; words: string; underlined: string[]; places: boolean }[] =
  [
    {
      name: 'a caption with boxes stands as it is',
      outputs: [caption],
      words: 'A dog on grass.',
      underlined: ['A dog'],
      places: true,
    },
    {
      name: 'what was asked for stands behind what a caption names, also where it is not there',
      outputs: [{ phrase: 'the cat', boxes: [] }, { phrase: 'the dog', boxes: [box] }, caption],
      words: 'A dog on grass. · the cat (not there) · the dog',
      underlined: ['A dog', 'the dog'],
      places: true,
    },
    {
      name: 'regions stand one after the other',
      outputs: [
        {
          regions: [
            { box, text: 'A dog.' },
            { box, text: 'Grass.' },
          ],
        },
      ],
      words: 'A dog. · Grass.',
      underlined: ['A dog.', 'Grass.'],
      places: true,
    },
    {
      name: 'boxes of a task of the user are drawn with its answer',
      outputs: [{ value: 'On the left', boxes: [box] }],
      words: 'On the left',
      underlined: ['On the left'],
      places: true,
    },
    {
      name: 'a text has no places',
      outputs: [{ text: 'A dog.' }],
      words: 'A dog.',
      underlined: [],
      places: false,
    },
  ]

test.each(cases)('$name', ({ outputs, words, underlined, places }) => {
  const { caption: drawn, phrases } = describePicture(records(outputs))!
  expect(drawn).toBe(words)
  expect(phrases.map(({ span }) => drawn.slice(span!.start, span!.end))).toEqual(underlined)
  expect(records(outputs).some(hasPlaces)).toBe(places)
})

test('an answer without words or places is nothing to draw', () => {
  expect(describePicture(records([{ value: 3 }, { tags: ['dog'] }]))).toBeNull()
})
