// count: how many of each thing there are.
// Example: "Two dogs and a cat." -> "How many dogs are there?" "Two." -> {counts: [{object: "dogs", count: 2}, {object: "cats", count: 1}]}
import { CountOutput, type TaskOutput } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { z } from 'zod'
import { entitiesIn, pluralOf } from './entities.ts'
import { textOf } from './text-of.ts'
import {
  emptyAnswer,
  type FollowedPlan,
  followsOne,
  type ParsedAnswer,
  type Task,
  unparsable,
} from './task.ts'

const maxThings = 8

const Options = z.strictObject({ objects: z.array(z.string()).optional() })

const questionOf = (plural: string) => `How many ${plural} are there?`

export const countTask: Task = {
  name: 'count',
  version: 1,
  ability: 'qa',
  summary:
    'how many of each thing: those of --objects, or those a caption names; else how many things at all',
  followsByDefault: ['caption', 'detailed-caption'],
  hasShortAnswers: true,
  isDefault: false,
  maxNewTokens: 16,
  outputSchema: CountOutput,
  plan({ objects, from }) {
    if (objects.length > 0) return [planCounts(objects.map(lastToPlural))]
    if (from.length === 0) return [planCounts(['objects'])]
    return from.map((after) => ({ prompts: [{ question: questionOf('things') }], options: {}, after }))
  },
  follow: followsOne(followText),
  parse: parseCounts,
}

function planCounts(objects: readonly string[]) {
  return {
    prompts: objects.map((object) => ({ question: questionOf(object) })),
    options: { objects: [...objects] },
  }
}

function lastToPlural(name: string): string {
  const words = name.split(/\s+/)
  return [...words.slice(0, -1), pluralOf(words.at(-1) ?? name)].join(' ')
}

function followText(spec: TaskSpec, upstream: TaskOutput): FollowedPlan {
  const text = textOf(upstream)
  if (text === null)
    return { ok: false, message: `the output of ${spec.after} has no text to find things in` }
  const plurals = entitiesIn(text).map(({ plural }) => plural)
  return { ok: true, plan: planCounts(plurals.slice(0, maxThings)) }
}

function parseCounts(spec: TaskSpec, answers: readonly string[]): ParsedAnswer {
  const { objects = [] } = Options.parse(spec.options ?? {})
  const counts: CountOutput['counts'] = []
  for (const [index, { question }] of spec.prompts.entries()) {
    const said = answers[index] ?? ''
    if (said.trim() === '') return emptyAnswer(question)
    const count = readNumber(said)
    if (count === null)
      return unparsable(
        `the answer ${JSON.stringify(said.slice(0, 200))} to ${JSON.stringify(question)} has no number`,
      )
    counts.push({ object: objects[index] ?? question, count })
  }
  return { ok: true, output: { counts }, repairs: [] }
}

const words = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen ' +
  'eighteen nineteen twenty'
).split(' ')
const pattern = new RegExp(
  String.raw`(?<![\d.])\d{1,6}(?![\d.]*\d)|\b(?:${words.join('|')}|no|none|nothing|an?)\b`,
  'i',
)

/** The first whole number, in digits or in words to twenty; "no" and "none" are 0, "a" is 1. */
export function readNumber(answer: string): number | null {
  const said = pattern.exec(answer)?.[0]?.toLowerCase()
  if (said === undefined) return null
  if (/^\d/.test(said)) return Number(said)
  if (said === 'a' || said === 'an') return 1
  return Math.max(0, words.indexOf(said))
}
