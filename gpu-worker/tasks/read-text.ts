// read-text: what is written in the image, line by line.
// Example: 'The sign says "NO PARKING".' -> {lines: ["NO PARKING"]}
import { ReadTextOutput } from '../../schemas/task-output.ts'
import { emptyAnswer, type ParsedAnswer, type Task } from './task.ts'

const questions = {
  chat: 'What text is in the image? Give only the text.',
  vqa: 'What text is in the image?',
  base: 'Read the text in this picture.',
} as const

export const readTextTask: Task = {
  name: 'read-text',
  version: 1,
  summary: 'what is written in the image',
  isDefault: false,
  maxNewTokens: 512,
  outputSchema: ReadTextOutput,
  plan: ({ template }) => [{ prompts: [{ question: questions[template] }] }],
  parse: (spec, answers) => parseText(answers[0] ?? '', spec.prompts[0]?.question ?? ''),
}

/** What stands in quotation marks, where something does; else the lines of the answer. */
function parseText(answer: string, question: string): ParsedAnswer {
  const text = answer.trim()
  if (text === '') return emptyAnswer(question)
  if (
    /^(?:there is )?(?:no|none|nothing)\b(?:(?: \w+){0,4} (?:text|words?|writing|letters?)\b.{0,40}|\W*)$/i.test(
      text,
    )
  )
    return { ok: true, output: { lines: [] }, repairs: [] }
  const quoted = [...text.matchAll(/["“]([^"”]+)["”]/g)].map((match) => (match[1] ?? '').trim())
  const isSentence = quoted.length > 0 && !/^["“][^"”]*["”]$/.test(text)
  const lines = (quoted.length > 0 ? quoted : text.split('\n')).flatMap((piece) => piece.split('\n'))
  return {
    ok: true,
    output: { lines: lines.map((line) => line.trim()).filter((line) => line !== '') },
    repairs: isSentence ? ['took what stands in quotation marks for the text'] : [],
  }
}
