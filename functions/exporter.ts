// Lambda root: writes the sealed labels of a run in a format, beside them.
import { z } from 'zod'
import { exportRun } from '../dataset/exports/export-run.ts'
import { findFormat } from '../dataset/exports/registry.ts'
import { RunId } from '../schemas/work-message.ts'
import { functionPlace } from './settings.ts'

const ExportEvent = z.object({ runId: RunId, format: z.string().max(40).default('jsonl') })

/** Returns where the index of the export is. */
export async function handler(event: unknown): Promise<{ indexKey: string; records: number }> {
  const { runId, format } = ExportEvent.parse(event)
  const place = await functionPlace()
  const { indexKey, index } = await exportRun(place.runStoreOf(runId), findFormat(format))
  return { indexKey, records: index.records }
}
