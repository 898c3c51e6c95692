// detailed-caption: everything that is to be seen, over several sentences.
// Example: "A brown dog sits at the left. Beside it lie two red apples, one above the other. The background is blue."
import { captionOf } from './caption.ts'
import type { Task } from './task.ts'

const questions = {
  chat: 'Describe the image in detail.',
  vqa: 'What does the image show, in detail?',
  base: 'Describe everything in this picture in detail.',
} as const

export const detailedCaptionTask: Task = {
  name: 'detailed-caption',
  version: 1,
  summary: 'everything that is to be seen, over several sentences',
  isDefault: false,
  maxNewTokens: 768,
  ...captionOf(questions),
}
