// A run folder of this machine, as verbs that read labels open it. It does not know what they read.
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { readRun } from '../dataset/run-folder.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'

/** Throws UserError when there is no run; nothing is made there. */
export async function openRunFolder(run: string): Promise<{ store: ObjectStore; config: RunConfig }> {
  const store = openFsStore(resolve(run))
  const isFolder = await stat(run).then(
    (stats) => stats.isDirectory(),
    () => false,
  )
  const config = isFolder ? await readRun(store) : null
  if (config === null)
    throw new UserError(`"${run}" is no run folder; expected one that coglabel label --out made`)
  return { store, config }
}
