// caption: what is in the image, in a sentence or two.
// Example: "A dog sits beside two red apples on a blue background."
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import { CaptionOutput } from '../../schemas/task-output.ts'
import { removeBoxes } from './boxes.ts'
import { existingOptions, fillExisting, joinExisting } from './existing-caption.ts'
import { emptyAnswer, type ParsedAnswer, type Task } from './task.ts'

const questions = {
  chat: 'Describe the image.',
  vqa: 'What does the image show?',
  // Base checkpoints were trained to caption an image that nothing is asked about (reference: empty prompt).
  base: '',
} as const

export const captionTask: Task = {
  name: 'caption',
  version: 1,
  summary: 'what is in the image, in a sentence or two',
  isDefault: true,
  maxNewTokens: 256,
  ...captionOf(questions),
}

/** What captions of any length are: one question each, whose answer is text, and what stands beside the image. */
export function captionOf(
  questionOf: Readonly<Record<PromptTemplate, string>>,
): Pick<Task, 'givesText' | 'outputSchema' | 'plan' | 'fill' | 'parse'> {
  return {
    givesText: true,
    outputSchema: CaptionOutput,
    plan: ({ template, existing }) => [
      { prompts: [{ question: questionOf[template] }], ...existingOptions(existing) },
    ],
    fill: fillExisting,
    parse: (spec, answers) =>
      joinExisting(spec, () => parseCaption(answers[0] ?? '', spec.prompts[0]?.question ?? '')),
  }
}

/** A caption is any text; boxes that a grounding model put in are taken out. */
function parseCaption(answer: string, question: string): ParsedAnswer {
  const { text, repairs } = removeBoxes(answer)
  if (text === '') return emptyAnswer(question)
  const took = text === answer.trim() ? [] : ['took boxes out of a plain caption']
  return { ok: true, output: { text }, repairs: [...took, ...repairs] }
}
