// yes-no: whether things are there, things that an earlier task names and as many that nobody named.
// Example: "A dog." -> "Is there a dog?" "Yes." and "Is there a cat?" "No."
//   -> {probes: [{question: "Is there a dog?", answer: "yes", object: "dog", expected: "yes"}, {…, expected: "no"}]}
import { z } from 'zod'
import { type TaskOutput, YesNoOutput, type YesNoProbe } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { chooseAbsent, commonThings, ObjectStatistics, ProbeSampling } from './absent-objects.ts'
import { entitiesIn, withArticle } from './entities.ts'
import { textOf } from './text-of.ts'
import {
  emptyAnswer,
  type FollowedPlan,
  followsOne,
  type ParsedAnswer,
  type Task,
  unparsable,
} from './task.ts'

/** Things of one text that are asked about, and as many others. */
const maxThings = 8

const Options = z.strictObject({
  probes: z
    .array(z.strictObject({ object: z.string(), expected: z.enum(['yes', 'no']).exactOptional() }))
    .optional(),
  sampling: ProbeSampling.optional(),
  statistics: ObjectStatistics.optional(),
})

/** One wording for every template: none of them changes what yes and no mean. */
const questionOf = (object: string) => `Is there ${withArticle(object)}?`

export const yesNoTask: Task = {
  name: 'yes-no',
  version: 1,
  ability: 'qa',
  summary: 'whether things are there: those of --objects, or those a caption names and as many others',
  needs: 'things to ask about; add --objects "dog,cat" or the task caption',
  followsByDefault: ['caption', 'detailed-caption'],
  hasShortAnswers: true,
  isDefault: false,
  maxNewTokens: 8,
  constraint: { kind: 'yes-no' },
  outputSchema: YesNoOutput,
  plan({ objects, from, probing = {} }) {
    if (from.length === 0)
      return objects.length === 0 ? [] : [planProbes(objects.map((object) => ({ object })))]
    const statistics = probing.statistics ?? (objects.length === 0 ? undefined : unweighed(objects))
    const options = { ...probing, ...(statistics === undefined ? {} : { statistics }) }
    return from.map((after) => ({ prompts: [{ question: questionOf('thing') }], options, after }))
  },
  follow: followsOne(followText),
  parse: (spec, answers) => parseProbes(spec, answers),
}

type Asked = Pick<YesNoProbe, 'object' | 'expected'> & { object: string }

function planProbes(probes: readonly Asked[]) {
  return {
    prompts: probes.map(({ object }) => ({ question: questionOf(object) })),
    options: { probes: [...probes] },
  }
}

function unweighed(names: readonly string[]): ObjectStatistics {
  return { objects: names.map((name) => ({ name, count: 0 })) }
}

/** Asks for each thing of the text, and for as many that are not in it, so that "yes" is right half of the time. */
function followText(spec: TaskSpec, upstream: TaskOutput): FollowedPlan {
  const text = textOf(upstream)
  if (text === null)
    return { ok: false, message: `the output of ${spec.after} has no text to find things in` }
  const { sampling = 'random', statistics = unweighed(commonThings) } = Options.parse(spec.options ?? {})
  const present = entitiesIn(text)
    .map(({ name }) => name)
    .slice(0, maxThings)
  const absent = chooseAbsent({ present, statistics, sampling, count: present.length, seed: text })
  const probes = [
    ...present.map((object) => ({ object, expected: 'yes' as const })),
    ...absent.map((object) => ({ object, expected: 'no' as const })),
  ]
  return { ok: true, plan: planProbes(probes) }
}

function parseProbes(spec: TaskSpec, answers: readonly string[]): ParsedAnswer {
  const { probes: asked = [] } = Options.parse(spec.options ?? {})
  const probes: YesNoProbe[] = []
  const repairs: string[] = []
  for (const [index, { question }] of spec.prompts.entries()) {
    const said = answers[index] ?? ''
    if (said.trim() === '') return emptyAnswer(question)
    const answer = readYesNo(said)
    if (answer === null)
      return unparsable(
        `the answer ${JSON.stringify(said.slice(0, 200))} to ${JSON.stringify(question)} is neither yes nor no`,
        repairs,
      )
    if (!/^\s*(?:yes|no)\W*$/i.test(said))
      repairs.push(`took ${JSON.stringify(said.trim().slice(0, 60))} for ${answer}`)
    probes.push({ question, answer, ...asked[index] })
  }
  return { ok: true, output: { probes }, repairs }
}

/** The first yes or no of an answer, or what a denial without either means; null where it says nothing. */
export function readYesNo(answer: string): 'yes' | 'no' | null {
  const word = /\b(yes|no)\b/i.exec(answer)?.[1]?.toLowerCase()
  if (word === 'yes' || word === 'no') return word
  if (/\bnot\b|n['’]t\b|\bnone\b|\babsent\b/i.test(answer)) return 'no'
  return /\b(?:there (?:is|are)|correct|true|indeed|it does|present)\b/i.test(answer) ? 'yes' : null
}
