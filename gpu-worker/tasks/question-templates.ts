// Questions about the things that a caption names, by kind, of a sort that nothing is gained without the image: none says
// what the caption says, what is asked for as there may be absent as well, and colours are not asked of things that have
// theirs by nature. It does not know the answers.
import { chooseAbsent, commonThings, seededNumbers } from './absent-objects.ts'
import { type Entity, entitiesIn, withArticle } from './entities.ts'

export type AskedQuestion = { question: string; kind: string }

/** The three kinds of LLaVA's instruction data. */
export const questionStyles = ['conversation', 'detail', 'reasoning'] as const
export type QuestionStyle = (typeof questionStyles)[number]

type Template = { kind: string; style: QuestionStyle; ask: (entity: Entity) => string }

const templates: readonly Template[] = [
  { kind: 'count', style: 'conversation', ask: ({ plural }) => `How many ${plural} are there?` },
  { kind: 'where', style: 'conversation', ask: ({ name }) => `Where is the ${name}?` },
  // Of the background: what colour an apple is, its name says (LOG.md: right in 75 of 100 cases).
  { kind: 'colour', style: 'conversation', ask: () => 'What is the background colour?' },
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
 * things are taken in turn, so that no kind always asks about the first. Whether something is there is asked only where
 * the caption names a thing of the vocabulary: of any other thing the question alone would tell that somebody saw it.
 */
export function questionsAbout(text: string, styles: readonly QuestionStyle[]): AskedQuestion[] {
  const entities = entitiesIn(text)
  if (entities.length === 0) return []
  const random = seededNumbers(text)
  const kinds = Map.groupBy(
    templates.filter(({ style }) => styles.includes(style)),
    ({ kind }) => kind,
  )
  const from = Math.floor(random() * entities.length)
  const asked = [...kinds].flatMap(([kind, forms], index) => {
    const entity = entities[(from + index + 1) % entities.length]
    const form = forms[Math.floor(random() * forms.length)]
    return entity === undefined || form === undefined ? [] : [{ question: form.ask(entity), kind }]
  })
  return styles.includes('conversation') ? [...existsQuestion(text, entities), ...asked] : asked
}

/** About something that is there or something that is not, by a coin; none where the vocabulary has nothing of it. */
function existsQuestion(text: string, entities: readonly Entity[]): AskedQuestion[] {
  const known = entities.filter(({ name }) => commonThings.includes(name))
  const random = seededNumbers(`exists ${text}`)
  const [present] = known.slice(Math.floor(random() * known.length))
  const [absent] = chooseAbsent({
    present: entities.map(({ name }) => name),
    statistics: { objects: commonThings.map((name) => ({ name, count: 0 })) },
    sampling: 'random',
    count: 1,
    seed: text,
  })
  if (present === undefined || absent === undefined) return []
  const name = random() < 0.5 ? present.name : absent
  return [{ question: `Is there ${withArticle(name)}?`, kind: 'exists' }]
}
