// The folder of a compiled model: it appears whole or not at all, replaces an older one, and what a killed compile left
// is cleared. Knows nothing of what is inside but the manifest's name.
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'
import { manifestFileName } from '../../schemas/model-manifest.ts'

export async function checkOutFolder(outFolder: string): Promise<void> {
  const info = await stat(outFolder).catch(() => undefined)
  if (info === undefined) return
  const names = info.isDirectory() ? await readdir(outFolder) : ['']
  if (names.length > 0 && !(await isCompiledModel(outFolder))) {
    throw new UserError(`${outFolder} exists and is not a compiled model; choose another folder or remove it`)
  }
}

/** Whether the folder's manifest is one of ours, of any version: other things have a manifest.json, too. */
async function isCompiledModel(folder: string): Promise<boolean> {
  const text = await readFile(join(folder, manifestFileName), 'utf8').catch(() => '')
  try {
    return z
      .object({ v: z.number(), digest: z.string(), graphs: z.object({}), files: z.array(z.unknown()) })
      .safeParse(JSON.parse(text)).success
  } catch {
    return false
  }
}

export async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = hiddenBeside(to, `old-${process.pid}`)
  const existed = await rename(to, aside).then(
    () => true,
    () => false,
  )
  await rename(from, to)
  if (existed) await rm(aside, { recursive: true, force: true })
}

/** `.name.suffix` in the folder of `name`. */
function hiddenBeside(path: string, suffix: string): string {
  return join(dirname(path), `.${basename(path)}.${suffix}`)
}

/** Folders that a killed compile left beside the result, where that process is gone. */
export async function removeStaleParts(outFolder: string): Promise<void> {
  const names = await readdir(dirname(outFolder)).catch(() => [])
  for (const kind of ['old', 'partial']) {
    const prefix = basename(hiddenBeside(outFolder, `${kind}-`))
    for (const name of names.filter((candidate) => candidate.startsWith(prefix))) {
      if (isRunning(Number(name.slice(prefix.length)))) continue
      const path = join(dirname(outFolder), name)
      // Killed between the two renames: the model that was there before comes back.
      const isRestored =
        kind === 'old' &&
        (await rename(path, outFolder).then(
          () => true,
          () => false,
        ))
      if (!isRestored) await rm(path, { recursive: true, force: true })
    }
  }
}

function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

export function explainDiskFull(error: unknown, outFolder: string): unknown {
  const full =
    error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EFBIG')
  return full
    ? new UserError(`the disk is full while writing ${outFolder}; free some space and compile again`, {
        cause: error,
      })
    : error
}
