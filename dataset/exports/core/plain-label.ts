// A label as it stands in JSON of formats that leave its shape to us: the output as in the record. It knows no format.
import { z } from 'zod'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import { TaskOutput } from '../../../schemas/task-output.ts'
import { contentOf } from './content.ts'
import type { ReadLabel } from './format.ts'

export const PlainLabel = z.object({
  recordId: z.string(),
  task: z.string(),
  question: z.string(),
  output: TaskOutput,
})
export type PlainLabel = z.infer<typeof PlainLabel>

export function plainLabel({ recordId, task, prompt, output }: LabelRecord) {
  return { recordId, task, question: prompt.text, output }
}

export function readPlainLabel({ recordId, task, question, output }: PlainLabel): ReadLabel {
  const { text, regions, turns } = contentOf(output, { questions: [question], task })
  const read = regions.map(({ text: words, span, boxes }) => ({
    text: words,
    start: span?.start ?? null,
    end: span?.end ?? null,
    boxes,
  }))
  return { recordId, text, turns, regions: read }
}
