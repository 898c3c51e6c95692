// qa: questions about the image with their answers, each asked on its own.
// Example: {turns: [{question: "How many dogs are there?", answer: "There are two dogs.", kind: "asked"}]}
import { QaOutput, type QaTurn } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { emptyAnswer, type ParsedAnswer, type Task } from './task.ts'

/** What is asked when the user asks nothing; the kinds are those of the records. */
const defaultQuestions = [
  { question: 'What is in the image?', kind: 'content' },
  { question: 'How many objects are there?', kind: 'count' },
]

export const qaTask: Task = {
  name: 'qa',
  version: 1,
  summary: 'questions with answers; ask your own with --ask',
  takes: 'questions',
  isDefault: true,
  maxNewTokens: 128,
  outputSchema: QaOutput,
  plan: ({ questions }) => [
    {
      prompts:
        questions.length === 0
          ? defaultQuestions
          : questions.map((question) => ({ question, kind: 'asked' })),
    },
  ],
  parse: parseQa,
}

/** Every question must have been answered: a conversation with a hole in it is no label. */
function parseQa(spec: TaskSpec, answers: readonly string[]): ParsedAnswer {
  const turns: QaTurn[] = []
  for (const [index, { question, kind = 'asked' }] of spec.prompts.entries()) {
    const answer = (answers[index] ?? '').trim()
    if (answer === '') return emptyAnswer(question)
    turns.push({ question, answer, kind })
  }
  return { ok: true, output: { turns }, repairs: [] }
}
