// Questions about the things that a caption names, by kind. None of them says what the caption says, and yes is as often
// right as no, so that nothing is gained without the image. It does not know the answers.
import { chooseAbsent, commonThings, seededNumbers } from './absent-objects.ts'
import { type Entity, entitiesIn, withArticle } from './entities.ts'

export type AskedQuestion = { question: string; kind: string }

/** The three kinds of LLaVA's instruction data. */
export const questionStyles = ['conversation', 'detail', 'reasoning'] as const
export type QuestionStyle = (typeof questionStyles)[number]

type Template = { kind: string; style: QuestionStyle; ask: (entity: Entity, other: string) => string }

const templates: readonly Template[] = [
  { kind: 'exists', style: 'conversation', ask: ({ name }) => `Is there ${withArticle(name)}?` },
  { kind: 'exists', style: 'conversation', ask: (_, other) => `Is there ${withArticle(other)}?` },
  { kind: 'count', style: 'conversation', ask: ({ plural }) => `How many ${plural} are there?` },
  { kind: 'where', style: 'conversation', ask: ({ name }) => `Where is the ${name}?` },
  { kind: 'colour', style: 'conversation', ask: ({ name }) => `What colour is the ${name}?` },
  { kind: 'detail', style: 'detail', ask: ({ name }) => `Describe the ${name} in detail.` },
  {
    kind: 'detail',
    style: 'detail',
    ask: ({ name }) => `What surrounds the ${name}, and how is it arranged?`,
  },
  {
    kind: 'reasoning',
    style: 'reasoning',
    ask: ({ name }) => `What could the ${name} be for here, and what tells you so?`,
  },
  {
    kind: 'reasoning',
    style: 'reasoning',
    ask: () => 'What may have happened just before this, and what tells you so?',
  },
]

/**
 * One question of each kind of the styles; of kinds with two templates the text decides which, as a coin would. The
 * things are taken in turn, so that no kind always asks about the first.
 */
export function questionsAbout(text: string, styles: readonly QuestionStyle[]): AskedQuestion[] {
  const entities = entitiesIn(text)
  if (entities.length === 0) return []
  const random = seededNumbers(text)
  const absent = chooseAbsent({
    present: entities.map(({ name }) => name),
    statistics: { objects: commonThings.map((name) => ({ name, count: 0 })) },
    sampling: 'random',
    count: 1,
    seed: text,
  })
  const kinds = Map.groupBy(
    templates.filter(({ style }) => styles.includes(style)),
    ({ kind }) => kind,
  )
  const from = Math.floor(random() * entities.length)
  return [...kinds].flatMap(([kind, forms], index) => {
    const entity = entities[(from + index) % entities.length]
    const form = forms[Math.floor(random() * forms.length)]
    if (entity === undefined || form === undefined) return []
    return [{ question: form.ask(entity, absent[0] ?? entity.name), kind }]
  })
}
