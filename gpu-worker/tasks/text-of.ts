// What an earlier task said that a later one can be asked about: its text, or its boxes. It does not know which tasks.
import type { Box, TaskOutput } from '../../schemas/task-output.ts'

/** Running text of an output, or null where it has none. */
export function textOf(output: TaskOutput): string | null {
  if ('text' in output) return output.text
  // Tags are things without a sentence around them.
  return 'tags' in output && output.tags.length > 0 ? output.tags.join(', ') : null
}

/** Every box of an output, in order. */
export function boxesOf(output: TaskOutput): Box[] {
  if ('phrases' in output) return output.phrases.flatMap(({ boxes }) => boxes)
  if ('phrase' in output) return output.boxes
  return 'regions' in output ? output.regions.map(({ box }) => box) : []
}
