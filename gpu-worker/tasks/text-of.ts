// What an earlier task said that a later one can be asked about: its text, or its boxes. It does not know which tasks.
import { z } from 'zod'
import type { Box, TaskOutput } from '../../schemas/task-output.ts'

const Words = z.array(z.string())

/** Running text of an output, or null where it has none. */
export function textOf(output: TaskOutput): string | null {
  if ('text' in output) return output.text
  if ('value' in output && typeof output.value === 'string') return output.value
  // Tags, and lists that a task of the user asks for, are things without a sentence around them.
  const things = 'tags' in output ? output.tags : 'value' in output ? Words.safeParse(output.value).data : []
  return things === undefined || things.length === 0 ? null : things.join(', ')
}

/** Every box of an output, in order. */
export function boxesOf(output: TaskOutput): Box[] {
  if ('phrases' in output) return output.phrases.flatMap(({ boxes }) => boxes)
  if ('phrase' in output) return output.boxes
  return 'regions' in output ? output.regions.map(({ box }) => box) : []
}
