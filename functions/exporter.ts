// Lambda root: writes the sealed labels of a run in a format, beside them.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { checkSummaries } from '../dataset/checks/registry.ts'
import { exportToStore } from '../dataset/exports/core/export-to-store.ts'
import { findFormat } from '../dataset/exports/registry.ts'
import { readRun } from '../dataset/run-folder.ts'
import { UserError } from '../schemas/errors.ts'
import { RunId } from '../schemas/work-message.ts'
import { functionPlace } from './settings.ts'

const ExportEvent = z.object({ runId: RunId, format: z.string().max(40).default('jsonl') })

/** Returns where the index of the export is. */
export async function handler(event: unknown): Promise<{ indexKey: string; records: number }> {
  const { runId, format } = ExportEvent.parse(event)
  const place = await functionPlace()
  const store = place.runStoreOf(runId)
  const config = await readRun(store)
  if (config === null)
    throw new UserError(`there is no run ${runId} in ${place.uri}; name one that was submitted`)
  const folder = await mkdtemp(join(tmpdir(), 'coglabel-export-'))
  try {
    const { indexKey, index } = await exportToStore({
      store,
      config,
      format: findFormat(format),
      folder,
      checkSummaries,
      version: 'cloud',
      readImage: async (uri) => {
        const { hostname, pathname } = new URL(uri)
        return await place.imagesOf(hostname).get(decodeURIComponent(pathname.slice(1)))
      },
    })
    return { indexKey, records: index.records }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
