// A folder that is there whole or not at all: it is written beside its place under a hidden name and then renamed.
// It does not know what is written.
import { rmSync } from 'node:fs'
import { readdir, rename, rm, rmdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { systemCode } from '../schemas/system-error.ts'
import { explainWriteError } from '../dataset/stores/fs.ts'
import { makeFolder } from '../dataset/stores/make-folder.ts'
import { isRunning } from '../gpu-worker/model/compiled-folder.ts'

/**
 * Gives `write` a folder and puts it at `out` when that returns; `out` may be an empty folder. Whatever ends the command
 * before leaves nothing there, except kill -9, whose folder the next command to the same place removes.
 */
export async function writeFolderWhole<T>(out: string, write: (staging: string) => Promise<T>): Promise<T> {
  const place = resolve(out)
  const [parent, prefix] = [dirname(place), `.${basename(place)}.partial-${hostname()}-`]
  await removeLeftovers(parent, prefix)
  const staging = join(parent, `${prefix}${process.pid}`)
  await makeFolder(staging).catch((error: unknown) => {
    throw explainWriteError(error, { path: place })
  })
  const onSignal = () => {
    rmSync(staging, { recursive: true, force: true })
    process.exit(130)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  try {
    const result = await write(staging)
    await rmdir(place).catch(() => {})
    await rename(staging, place)
    return result
  } catch (error) {
    // Libraries that write by themselves say no more than the code.
    throw isFull(error) ? explainWriteError(error, { path: place }) : error
  } finally {
    for (const signal of signals) process.off(signal, onSignal)
    await rm(staging, { recursive: true, force: true })
  }
}

/** Only writing fails like that. */
function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCode(error))
}

/** Folders of processes of this machine that are no more. */
async function removeLeftovers(parent: string, prefix: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const processId = Number(name.slice(prefix.length))
    if (!name.startsWith(prefix) || !Number.isInteger(processId) || isRunning(processId)) continue
    await rm(join(parent, name), { recursive: true, force: true })
  }
}
