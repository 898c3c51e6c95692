// qa: questions about the image with their answers, each asked on its own: the user's, those that the model thought of,
// or questions about the things that a caption names.
// Example: {turns: [{question: "How many dogs are there?", answer: "There are two dogs.", kind: "asked"}]}
import { z } from 'zod'
import { QaOutput, type QaTurn, type TaskOutput } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { questionsAbout, questionStyles } from './question-templates.ts'
import { textOf } from './text-of.ts'
import {
  emptyAnswer,
  type FollowedPlan,
  followsOne,
  type ParsedAnswer,
  type Task,
  unparsable,
} from './task.ts'

/** What is asked when there is nothing to ask about. */
const defaultQuestions = [
  { question: 'What is in the image?', kind: 'content' },
  { question: 'How many objects are there?', kind: 'count' },
]

const Options = z.strictObject({ styles: z.array(z.enum(questionStyles)).optional() })

export const qaTask: Task = {
  name: 'qa',
  version: 3,
  summary: 'questions with answers; ask your own with --ask, else about what a caption names',
  takes: 'questions',
  followsByDefault: ['ask-questions', 'caption', 'detailed-caption'],
  hasShortAnswers: true,
  isDefault: true,
  maxNewTokens: 128,
  outputSchema: QaOutput,
  plan({ questions, from, styles }) {
    if (questions.length > 0) return [{ prompts: questions.map((question) => ({ question, kind: 'asked' })) }]
    if (from.length === 0) return [{ prompts: [...defaultQuestions] }]
    const options = styles === undefined ? {} : { styles: [...styles] }
    return from.map((after) => ({
      prompts: [{ question: 'What is in the image?', kind: 'content' }],
      options,
      after,
    }))
  },
  follow: followsOne(followTask),
  parse: parseQa,
}

function followTask(spec: TaskSpec, upstream: TaskOutput): FollowedPlan {
  const { styles = ['conversation'] } = Options.parse(spec.options ?? {})
  if ('questions' in upstream) {
    const own = upstream.questions.map((question) => ({ question, kind: 'model' }))
    return { ok: true, plan: { prompts: own, options: {} } }
  }
  const text = textOf(upstream)
  if (text === null) return { ok: false, message: `the output of ${spec.after} has no text to ask about` }
  const about = questionsAbout(text, styles)
  return {
    ok: true,
    plan: { prompts: about.length === 0 ? [...defaultQuestions] : about, options: { styles } },
  }
}

/** Every question of the user must have been answered; of ours, those that the image does not answer are left out. */
function parseQa(spec: TaskSpec, answers: readonly string[]): ParsedAnswer {
  const turns: QaTurn[] = []
  const repairs: string[] = []
  for (const [index, { question, kind = 'asked' }] of spec.prompts.entries()) {
    const answer = (answers[index] ?? '').trim()
    const isOurs = kind !== 'asked'
    if (isOurs && (answer === '' || isUnanswerable(answer) || repeatsQuestion(question, answer))) {
      repairs.push(`left out ${JSON.stringify(question)}, which was not answered`)
      continue
    }
    if (answer === '') return emptyAnswer(question)
    turns.push({ question, answer, kind })
  }
  if (turns.length > 0) return { ok: true, output: { turns }, repairs }
  const [first] = spec.prompts
  if (first !== undefined && answers.every((answer) => answer.trim() === ''))
    return emptyAnswer(first.question)
  return unparsable('none of the questions was answered', repairs)
}

/** "What colour is the penguin?" "Penguin." */
function repeatsQuestion(question: string, answer: string): boolean {
  const asked = new Set(question.toLowerCase().match(/\p{L}+/gu) ?? [])
  const said = answer.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
  return said.length > 0 && said.every((word) => asked.has(word))
}

/** Answers that say that there is no answer. */
function isUnanswerable(answer: string): boolean {
  return /\b(?:(?:can(?:no|['’])?t|cannot|could not|couldn['’]t) (?:be )?(?:tell|determined?|seen?|known?|said|answer)|(?:do(?:es)? not|don['’]t) know|not (?:clear|visible|specified|possible to)|unclear|unknown|unanswerable|impossible to (?:tell|say))\b/i.test(
    answer,
  )
}
