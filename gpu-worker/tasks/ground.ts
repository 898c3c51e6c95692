// ground: where something is. One record for each phrase; no boxes when the model says that it is not there.
// Example: "the dog" -> "[[112,308,471,902]]" -> {phrase: "the dog", boxes: [[0.112, 0.308, 0.471, 0.902]]}
// Or one record for what an earlier caption of the same image names, each thing asked for on its own:
//   "A dog and a cat." -> "[[112,308,471,902]]", "[[590,610,700,740]]" -> {text: "A dog and a cat.", phrases: [{text: "A dog", …}, …]}
import { z } from 'zod'
import {
  GroundedCaptionOutput,
  type GroundedPhrase,
  GroundOutput,
  type TaskOutput,
} from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { findBoxes } from './boxes.ts'
import { nounPhrases } from './noun-phrase.ts'
import { textOf } from './text-of.ts'
import {
  emptyAnswer,
  type FollowedPlan,
  followsOne,
  unparsable,
  type ParsedAnswer,
  type Task,
} from './task.ts'

const questions = {
  chat: (phrase: string) => `Where is ${phrase}? Give its box.`,
  vqa: (phrase: string) => `Where is ${phrase}? Give its box.`,
  base: (phrase: string) => `Locate ${phrase} and reply with its coordinates [[x0,y0,x1,y1]].`,
} as const

/** Stands in the question for a phrase that an earlier task has yet to name. */
const blank = '{phrase}'

/** Things of one caption that are asked for, and how long one may be: a caption is what a model says. */
const maxPhrases = 16
const maxPhraseChars = 100

const Options = z.strictObject({ phrase: z.string() })
const FromOptions = z.strictObject({ from: z.string() })
const Offset = z.int().nonnegative()
const FollowedOptions = FromOptions.extend({
  text: z.string(),
  phrases: z.array(z.strictObject({ start: Offset, end: Offset })),
})

export const groundTask: Task = {
  name: 'ground',
  version: 2,
  summary: 'the boxes of a phrase; give phrases with --ground, or --ground-from caption',
  takes: 'phrases',
  needs: 'something to find; add --ground "the dog" or --ground-from caption',
  role: 'grounding',
  isDefault: false,
  maxNewTokens: 128,
  constraint: { kind: 'boxes', text: 'absence' },
  outputSchema: z.union([GroundOutput, GroundedCaptionOutput]),
  plan: ({ template, phrases, from }) => [
    ...phrases.map((phrase) => ({
      prompts: [{ question: questions[template](phrase) }],
      options: { phrase },
    })),
    ...from.map((after) => ({
      prompts: [{ question: questions[template](blank) }],
      options: { from: after },
      after,
    })),
  ],
  follow: followsOne(followText),
  parse(spec, answers) {
    const followed = FollowedOptions.safeParse(spec.options)
    if (followed.success) return parseFollowed(followed.data, answers)
    return parseGround(answers[0] ?? '', Options.parse(spec.options).phrase)
  },
}

/** Asks for each thing that the text names. */
function followText(spec: TaskSpec, upstream: TaskOutput): FollowedPlan {
  const { from } = FromOptions.parse(spec.options)
  const text = textOf(upstream)
  if (text === null) return { ok: false, message: `the output of ${from} has no text to find things in` }
  // Phrases that are known to be things need no guessing; each is asked for once.
  const known = 'phrases' in upstream ? distinctPhrases(upstream.phrases) : nounPhrases(text)
  const phrases = known.filter(({ start, end }) => end - start <= maxPhraseChars).slice(0, maxPhrases)
  const question = spec.prompts[0]?.question ?? blank
  const prompts = phrases.map(({ start, end }) => {
    const phrase = text.slice(start, end).replaceAll(/\s+/g, ' ')
    // Inside a question a phrase does not begin a sentence; a name keeps its capitals.
    const inside = phrase.replace(/^(A|An|The|One|Two|Three|Four|Five|Several|Many|Some) /, (word) =>
      word.toLowerCase(),
    )
    return { question: question.replace(blank, () => inside) }
  })
  return { ok: true, plan: { prompts, options: { from, text, phrases } } }
}

function distinctPhrases(phrases: readonly GroundedPhrase[]): { start: number; end: number }[] {
  const byText = new Map(phrases.toReversed().map((phrase) => [phrase.text.toLowerCase(), phrase]))
  return phrases.flatMap((phrase) => {
    const { text, start, end } = phrase
    return byText.get(text.toLowerCase()) === phrase ? [{ start, end }] : []
  })
}

/** A thing that the model says is not there gets no box; an answer that is neither fails the record. */
function parseFollowed(
  { text, phrases }: z.infer<typeof FollowedOptions>,
  answers: readonly string[],
): ParsedAnswer {
  const found: GroundedCaptionOutput['phrases'] = []
  const repairs: string[] = []
  for (const [index, { start, end }] of phrases.entries()) {
    const phrase = text.slice(start, end)
    const parsed = parseGround(answers[index] ?? '', phrase)
    repairs.push(...parsed.repairs)
    if (!parsed.ok) return { ...parsed, message: `of ${JSON.stringify(phrase)}: ${parsed.message}`, repairs }
    const { boxes } = GroundOutput.parse(parsed.output)
    if (boxes.length > 0) found.push({ text: phrase, start, end, boxes })
  }
  return { ok: true, output: { text, phrases: found }, repairs }
}

/** An answer without a box is a failure, unless it says in words that the thing is not there. */
function parseGround(answer: string, phrase: string): ParsedAnswer {
  if (answer.trim() === '') return emptyAnswer(phrase)
  const { groups, repairs } = findBoxes(answer)
  const boxes = groups.flatMap((group) => group.boxes)
  if (boxes.length > 0) return { ok: true, output: { phrase, boxes }, repairs }
  if (groups.length === 0 && saysAbsent(answer)) return { ok: true, output: { phrase, boxes }, repairs }
  return unparsable(
    `the answer ${JSON.stringify(answer.slice(0, 200))} holds no box; expected [[x0,y0,x1,y1]] or words that say it is not there`,
    repairs,
  )
}

function saysAbsent(answer: string): boolean {
  return /\b(no|none|not|nothing|nowhere|never|absent|missing|cannot|without)\b|n['’]t\b/i.test(answer)
}
