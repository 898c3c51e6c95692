// Questions about a scene with their answers, in the forms that training/turns.py trains. It knows words, not pixels.
import type { GoldLine, GoldQuestion } from '../../schemas/gold.ts'
import type { Box } from '../../schemas/task-output.ts'
import type { Concept, World } from '../../schemas/world.ts'
import { pick, type Random } from './random.ts'

/** What is where: the concept of every gold object, with its box. */
export type SceneFacts = {
  objects: readonly { concept: Concept; box: Box }[]
  background: string
}

export const forms = {
  exists: [
    'Is there {a} in the image?',
    'Is there {a}?',
    'Do you see {a}?',
    'Does the image show {a}?',
    'Is {a} in the picture?',
  ],
  existsMany: ['Are there {} in the image?', 'Are there any {}?', 'Do you see any {}?'],
  count: [
    'How many {} are there?',
    'How many {} are in the image?',
    'How many {} do you see?',
    'Count the {}.',
  ],
  countAll: ['How many objects are there?', 'How many objects are in the image?', 'Count the objects.'],
  colour: ['What colour is the {}?', 'Which colour is the {}?', 'What is the colour of the {}?'],
  backgroundColour: [
    'What colour is the background?',
    'Which colour is the background?',
    'What is the background colour?',
  ],
  where: ['Where is the {}?', 'In which part of the image is the {}?', 'Where in the image is the {}?'],
  whereAll: ['Where are the {}?', 'Where in the image are the {}?'],
  // The one form of the ground task, so that its records answer it.
  ground: ['Where is the {}? Give its box.'],
  name: [
    'What is at {}?',
    'What is in the box {}?',
    'Name the object at {}.',
    'Which object is at {}?',
    'What does the box {} show?',
  ],
} as const

export const numberWords = ['Zero', 'One', 'Two', 'Three', 'Four', 'Five', 'Six', 'Seven', 'Eight'] as const

export const places = [
  ['in the top left', 'at the top', 'in the top right'],
  ['on the left', 'in the centre', 'on the right'],
  ['in the bottom left', 'at the bottom', 'in the bottom right'],
] as const

/**
 * Seven questions about a scene: one thing that is there and one that is not (half of the time of the same category
 * as something there), a count, a colour, a place in words, a place as a box, and the name of what is in a box.
 * No question twice.
 */
export function askAboutScene(
  facts: SceneFacts,
  { world, random }: { world: World; random: Random },
): GoldQuestion[] {
  const kinds = groupByConcept(facts)
  const absent = pickAbsent(facts, { world, random })
  const asked = [
    exists(pick(random, kinds).concept, { isThere: true, random }),
    exists(absent, { isThere: false, random }),
    count(facts, { absent, kinds, random }),
    colour(facts, { kinds, random }),
    where(pick(random, kinds), random),
    ground(pick(random, kinds), random),
    name(pick(random, facts.objects), random),
  ]
  return [...new Map(asked.map((one) => [one.question, one])).values()]
}

type Kind = { concept: Concept; boxes: Box[] }

/** Each concept of the scene with its boxes from left to right. */
function groupByConcept({ objects }: SceneFacts): Kind[] {
  const kinds = new Map<string, Kind>()
  for (const { concept, box } of objects.toSorted((a, b) => a.box[0] - b.box[0] || a.box[1] - b.box[1])) {
    const kind = kinds.get(concept.name) ?? { concept, boxes: [] }
    kind.boxes.push(box)
    kinds.set(concept.name, kind)
  }
  return [...kinds.values()]
}

function pickAbsent({ objects }: SceneFacts, { world, random }: { world: World; random: Random }): Concept {
  const there = new Set(objects.map(({ concept }) => concept.name))
  const rest = world.concepts.filter(({ name: word }) => !there.has(word))
  if (random() >= 0.5) return pick(random, rest)
  const { category } = pick(random, objects).concept
  const alike = rest.filter((concept) => concept.category === category)
  return pick(random, alike.length > 0 ? alike : rest)
}

function exists(concept: Concept, { isThere, random }: { isThere: boolean; random: Random }): GoldQuestion {
  const spoken = sayConcept(concept, random)
  const isMany = random() < 0.25
  const question = isMany
    ? pickForm(forms.existsMany, random).replace('{}', spoken.plural)
    : pickForm(forms.exists, random).replace('{a}', withArticle(spoken.name))
  return { question, answer: isThere ? 'Yes.' : 'No.', kind: 'exists' }
}

function count(
  { objects }: SceneFacts,
  { absent, kinds, random }: { absent: Concept; kinds: readonly Kind[]; random: Random },
): GoldQuestion {
  if (random() < 0.2) {
    return { question: pickForm(forms.countAll, random), answer: sayNumber(objects.length), kind: 'count' }
  }
  const { concept, boxes } = random() < 0.2 ? { concept: absent, boxes: [] } : pick(random, kinds)
  const question = pickForm(forms.count, random).replace('{}', sayConcept(concept, random).plural)
  return { question, answer: sayNumber(boxes.length), kind: 'count' }
}

function colour(
  { background }: SceneFacts,
  { kinds, random }: { kinds: readonly Kind[]; random: Random },
): GoldQuestion {
  const coloured = kinds.flatMap(({ concept }) =>
    concept.colour === undefined ? [] : [{ concept, colour: concept.colour }],
  )
  if (coloured.length === 0 || random() < 0.3) {
    const question = pickForm(forms.backgroundColour, random)
    return { question, answer: sentence(background), kind: 'colour' }
  }
  const chosen = pick(random, coloured)
  const question = pickForm(forms.colour, random).replace('{}', sayConcept(chosen.concept, random).name)
  return { question, answer: sentence(chosen.colour), kind: 'colour' }
}

function where({ concept, boxes }: Kind, random: Random): GoldQuestion {
  const isMany = boxes.length > 1
  const spoken = sayConcept(concept, random)
  const question = pickForm(isMany ? forms.whereAll : forms.where, random).replace(
    '{}',
    isMany ? spoken.plural : spoken.name,
  )
  return { question, answer: sentence(joinWords([...new Set(boxes.map(placeOf))])), kind: 'where' }
}

function ground({ concept, boxes }: Kind, random: Random): GoldQuestion {
  const question = pickForm(forms.ground, random).replace('{}', concept.name)
  return { question, answer: writeBoxes(boxes), kind: 'ground' }
}

function name({ concept, box }: SceneFacts['objects'][number], random: Random): GoldQuestion {
  const question = pickForm(forms.name, random).replace('{}', writeBoxes([box]))
  return { question, answer: sentence(withArticle(concept.name)), kind: 'name' }
}

/** The concept's name, now and then a synonym, as in training. */
function sayConcept(concept: Concept, random: Random): { name: string; plural: string } {
  const { synonyms = [] } = concept
  return synonyms.length > 0 && random() < 0.25 ? pick(random, synonyms) : concept
}

/** A way of asking; the first three, which are short, more often. */
function pickForm(options: readonly string[], random: Random): string {
  return pick(random, random() < 0.6 ? options.slice(0, 3) : options)
}

/** Boxes as the model writes them: thousandths, rounded down, three digits. */
export function writeBoxes(boxes: readonly Box[]): string {
  const number = (value: number) => String(Math.min(999, Math.floor(value * 1000 + 1e-9))).padStart(3, '0')
  return `[[${boxes.map((box) => box.map(number).join(',')).join(';')}]]`
}

function placeOf([x0, y0, x1, y1]: Box): string {
  const third = (centre: number) => Math.min(2, Math.floor(centre * 3))
  return places[third((y0 + y1) / 2)]?.[third((x0 + x1) / 2)] ?? ''
}

function sayNumber(value: number): string {
  return `${numberWords[value] ?? String(value)}.`
}

function withArticle(word: string): string {
  return `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`
}

function joinWords(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1) ?? ''}`
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** What `label` is to ask about an image: the questions for qa, and the phrases for ground. */
export function splitQuestions({ questions }: GoldLine): { questions: string[]; phrases: string[] } {
  const grounding = /^Where is (.+)\? Give its box\.$/
  return {
    questions: questions.map(({ question }) => question).filter((question) => !grounding.test(question)),
    phrases: questions.flatMap(({ question }) => grounding.exec(question)?.[1] ?? []),
  }
}
