// ground: where something is. One record for each phrase; no boxes when the model says that it is not there.
// Example: "the dog" -> "[[112,308,471,902]]" -> {phrase: "the dog", boxes: [[0.112, 0.308, 0.471, 0.902]]}
import { z } from 'zod'
import { GroundOutput } from '../../schemas/task-output.ts'
import { findBoxes } from './boxes.ts'
import { emptyAnswer, unparsable, type ParsedAnswer, type Task } from './task.ts'

const questions = {
  chat: (phrase: string) => `Where is ${phrase}? Give its box.`,
  vqa: (phrase: string) => `Where is ${phrase}? Give its box.`,
  base: (phrase: string) => `Locate ${phrase} and reply with its coordinates [[x0,y0,x1,y1]].`,
} as const

const Options = z.strictObject({ phrase: z.string() })

export const groundTask: Task = {
  name: 'ground',
  version: 1,
  summary: 'the boxes of a phrase; give phrases with --ground',
  takes: 'phrases',
  needs: 'something to find; add --ground "the dog"',
  isDefault: false,
  maxNewTokens: 128,
  outputSchema: GroundOutput,
  plan: ({ template, phrases }) =>
    phrases.map((phrase) => ({ prompts: [{ question: questions[template](phrase) }], options: { phrase } })),
  parse: (spec, answers) => parseGround(answers[0] ?? '', Options.parse(spec.options).phrase),
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
