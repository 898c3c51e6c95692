// The boxes of a label, whatever its shape, each with the words it belongs to. It does not know tasks.
import type { Box, TaskOutput } from '../../schemas/task-output.ts'

export type NamedBoxes = { name: string; boxes: readonly Box[] }

/** Null where the output has no place for boxes. */
export function boxesOf(output: TaskOutput): NamedBoxes[] | null {
  if ('phrases' in output) return output.phrases.map(({ text, boxes }) => ({ name: text, boxes }))
  if ('phrase' in output) return [{ name: output.phrase, boxes: output.boxes }]
  if ('regions' in output) return output.regions.map(({ text, box }) => ({ name: text, boxes: [box] }))
  return null
}
