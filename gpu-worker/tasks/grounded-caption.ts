// grounded-caption: a caption whose things are tied to boxes.
// Example: "A dog [[112,308,471,902]] and two apples [[590,610,700,740;720,600,850,745]]."
//   -> {text: "A dog and two apples.", phrases: [{text: "A dog", start: 0, end: 5, boxes: [[0.112, …]]}, {text: "two apples", …}]}
import { type Box, GroundedCaptionOutput, type GroundedPhrase } from '../../schemas/task-output.ts'
import { appendText, findBoxes } from './boxes.ts'
import { lastNounPhrase } from './noun-phrase.ts'
import { emptyAnswer, unparsable, type ParsedAnswer, type Task } from './task.ts'

const questions = {
  chat: 'Describe the image with boxes.',
  vqa: 'What does the image show, with boxes?',
  base: 'Caption this picture and put [[x0,y0,x1,y1]] after every object you name.',
} as const

export const groundedCaptionTask: Task = {
  name: 'grounded-caption',
  version: 1,
  summary: 'a caption with a box for each thing it names',
  role: 'grounding',
  givesText: true,
  isDefault: true,
  maxNewTokens: 512,
  constraint: { kind: 'boxes', text: 'around' },
  outputSchema: GroundedCaptionOutput,
  plan: ({ template }) => [{ prompts: [{ question: questions[template] }] }],
  parse: (spec, answers) => parseGroundedCaption(answers[0] ?? '', spec.prompts[0]?.question ?? ''),
}

/**
 * Takes the boxes out of the text and gives each to the noun phrase right before it; offsets are into the text
 * without boxes. A caption with no box at all is a failure: it says nothing about where anything is.
 */
export function parseGroundedCaption(answer: string, question = ''): ParsedAnswer {
  if (answer.trim() === '') return emptyAnswer(question)
  const { groups, repairs } = findBoxes(answer)
  const phrases: GroundedPhrase[] = []
  let text = ''
  let at = 0
  let pieceStart = 0
  for (const group of groups) {
    const piece = answer.slice(at, group.start)
    text = appendText(text, text === '' ? piece.trimStart() : piece).trimEnd()
    at = group.end
    if (group.boxes.length === 0) continue
    const isBehindAnother = phrases.length > 0 && text.length === phrases.at(-1)?.end
    if (isBehindAnother) phrases.at(-1)?.boxes.push(...group.boxes)
    else if (!addPhrase(phrases, { text, pieceStart, boxes: group.boxes }))
      repairs.push('left out a box that follows no phrase')
    pieceStart = text.length
  }
  const tail = answer.slice(at).trimEnd()
  text = appendText(text, text === '' ? tail.trimStart() : tail)
  if (text === '')
    return unparsable(
      `the answer ${JSON.stringify(answer.slice(0, 200))} is boxes only; expected a caption around them`,
      repairs,
    )
  if (phrases.length > 0) return { ok: true, output: { text, phrases }, repairs }
  return unparsable(
    `the answer ${JSON.stringify(answer.slice(0, 200))} ties no box to a phrase; expected phrases followed by [[x0,y0,x1,y1]]`,
    repairs,
  )
}

/** Adds the noun phrase that ends `text` within the piece since the box before; false when there is none. */
function addPhrase(
  phrases: GroundedPhrase[],
  { text, pieceStart, boxes }: { text: string; pieceStart: number; boxes: Box[] },
): boolean {
  const found = lastNounPhrase(text.slice(pieceStart))
  if (found === null) return false
  const [start, end] = [pieceStart + found.start, pieceStart + found.end]
  phrases.push({ text: text.slice(start, end), start, end, boxes: [...boxes] })
  return true
}
