// A person's judgement of a record: append-only, one object each, never changed. The newest of a record counts.
import { z } from 'zod'
import { RecordId } from './label-record.ts'
import { TaskOutput } from './task-output.ts'

export const verdictVersion = 1
export const verdictsPrefix = 'verdicts/'

export const VerdictKey = z
  .string()
  .regex(/^verdicts\/[0-9a-f]{2}\/[0-9a-f]{32}-[0-9]{13}-[0-9a-f]{8}\.json$/)
  .describe(
    'verdicts/<first 2 hex of the recordId>/<recordId>-<milliseconds since 1970>-<8 hex of its sha256>.json',
  )

export const Verdict = z
  .strictObject({
    v: z.literal(verdictVersion),
    recordId: RecordId,
    verdict: z
      .enum(['accept', 'reject', 'edit', 'withdraw'])
      .describe(
        'edit: right once `output` stands in its place; withdraw: as if nobody had looked, for undoing',
      ),
    output: TaskOutput.optional().describe('what the label should be; with an edit and only then'),
    who: z.string().min(1).max(200).describe('the person, as they call themselves'),
    at: z.iso.datetime().describe('when, by their clock'),
    comment: z.string().max(10_000).optional().describe('why, in their words'),
  })
  .refine(
    ({ verdict, output }) => (verdict === 'edit') === (output !== undefined),
    'an edit has an output, and nothing else has one',
  )
export type Verdict = z.infer<typeof Verdict>
