// The records themselves, one a line, with verdicts merged in: for those who write their own loader.
import { LabelRecord } from '../../schemas/label-record.ts'
import type { ReadLabel } from './core/format.ts'
import { readPlainLabel } from './core/plain-label.ts'
import { rowFormat } from './core/row-format.ts'
import { field } from './core/rules.ts'

/** Of one file, so that each can be sent and read whole. */
const limits = { rows: 1_000_000, bytes: 64 * 1024 * 1024 }

export const jsonl = rowFormat({
  name: 'jsonl',
  summary: 'the records as they are, one a line',
  imageModes: ['reference'],
  extension: 'jsonl',
  limits,
  lost: ['what a label was before a person edited it'],
  rowsOf: (image) => [...image.records],
  readRow(value) {
    const { source, image, recordId, task, prompt, output } = LabelRecord.parse(value)
    const labels: ReadLabel[] =
      output === null ? [] : [readPlainLabel({ recordId, task, question: prompt.text, output })]
    return { image: source.key, width: image?.width ?? null, height: image?.height ?? null, labels }
  },
  rules: [
    {
      name: 'line-is-a-record',
      says: 'every line is a record by the schema that this program publishes',
      source: 'schemas/json/label-record.schema.json',
      problem({ file, number, value }) {
        const record = LabelRecord.safeParse(value)
        return record.success ? null : `${file}, line ${number}: ${record.error.issues[0]?.message ?? ''}`
      },
    },
    {
      name: 'only-labels',
      says: 'no line is a failed record: it would have nothing to say',
      source: 'schemas/json/label-record.schema.json',
      problem: ({ file, number, value }) =>
        field(value, 'status') === 'failed' ? `${file}, line ${number}` : null,
    },
  ],
})
