// The closed list of what can go wrong with one image or one task, each with its sentence. It does not know who finds out.
import { z } from 'zod'

export const FailureCode = z.enum([
  'image-empty',
  'image-too-large',
  'image-too-many-pixels',
  'image-format-unsupported',
  'image-corrupt',
  'image-truncated',
  'decoder-crashed',
  'decoder-out-of-memory',
  'source-not-found',
  'source-denied',
  'source-unreadable',
  'answer-unparsable',
  'answer-empty',
  'prompt-too-long',
  'prompt-incomplete',
  'task-upstream-failed',
  'engine-crashed',
  'engine-error',
  'timed-out',
])
export type FailureCode = z.infer<typeof FailureCode>

/** One sentence per code, for documentation and summaries; a record's own message says what was seen. */
export const failureSentences: Readonly<Record<FailureCode, string>> = {
  'image-empty': 'the file has no bytes',
  'image-too-large': 'the file has more bytes than the limit',
  'image-too-many-pixels': 'the image has more pixels, or a longer side, than the limit',
  'image-format-unsupported': 'the bytes are not an image in one of the formats we decode',
  'image-corrupt': 'the bytes begin like an image but cannot be decoded',
  'image-truncated': 'the image ends before its data does',
  'decoder-crashed': 'the native image decoder died more than once on this image',
  'decoder-out-of-memory': 'decoding took more memory than a decoder may hold',
  'source-not-found': 'there is no file or object under this name',
  'source-denied': 'reading the file or object is not permitted',
  'source-unreadable': 'the file or object exists but reading it failed',
  'answer-unparsable': 'the model answered, but not in the form its task asks for',
  'answer-empty': 'the model answered with nothing but space',
  'prompt-too-long': 'the prompt and the image leave no positions for an answer',
  'prompt-incomplete': 'the prompt takes a field that the image or an earlier task does not have',
  'task-upstream-failed': 'a task whose output this one needs has failed',
  'engine-crashed': 'the native runtime crashed more than once on this image',
  'engine-error': 'the runtime reported an error for this image',
  'timed-out': 'the work took longer than its limit',
}

/** What can go wrong with one image, as a value. */
export const Failure = z.strictObject({
  code: FailureCode,
  message: z.string().min(1).describe('what was seen, what was expected, what to do'),
})
export type Failure = z.infer<typeof Failure>
