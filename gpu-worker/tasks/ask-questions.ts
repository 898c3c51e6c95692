// ask-questions: questions about the image that the model itself thinks of; qa answers them when it is in the run.
// Example: "1. What colour is the dog?\n2. How many apples are there?" -> {questions: ["What colour is the dog?", …]}
import { QuestionsOutput } from '../../schemas/task-output.ts'
import { emptyAnswer, type ParsedAnswer, type Task, unparsable } from './task.ts'

const questions = {
  chat: 'Write five different questions about this image that can be answered by looking at it, one a line.',
  vqa: 'Which five questions can be answered by looking at this image?',
  base: 'Five questions about this picture, one a line:',
} as const

const maxQuestions = 10
const maxQuestionChars = 300

export const askQuestionsTask: Task = {
  name: 'ask-questions',
  version: 1,
  summary: 'questions that the model thinks of, for qa to answer',
  isDefault: false,
  maxNewTokens: 256,
  outputSchema: QuestionsOutput,
  plan: ({ template }) => [{ prompts: [{ question: questions[template] }] }],
  parse: (spec, answers) => parseQuestions(answers[0] ?? '', spec.prompts[0]?.question ?? ''),
}

/** Each sentence that ends with a question mark, once. */
function parseQuestions(answer: string, asked: string): ParsedAnswer {
  if (answer.trim() === '') return emptyAnswer(asked)
  const found = [...answer.matchAll(/[^?!.\n]*\?/g)].map(([sentence]) =>
    sentence.replace(/^\s*(?:[-*•]|\d+[.)]|Q\d*:|Question:)\s*/i, '').trim(),
  )
  const kept = [...new Set(found)].filter((text) => text.length > 5 && text.length <= maxQuestionChars)
  if (kept.length > 0) return { ok: true, output: { questions: kept.slice(0, maxQuestions) }, repairs: [] }
  return unparsable(`the answer ${JSON.stringify(answer.slice(0, 200))} holds no question`)
}
