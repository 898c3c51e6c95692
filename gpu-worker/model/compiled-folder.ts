// The folder of a compiled model: it appears whole or not at all, replaces an older one, and what a killed compile left
// is cleared. Knows nothing of what is inside but the manifest's name.
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'
import { systemCode } from '../../schemas/system-error.ts'
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

/** Two compiles that end at the same moment take turns; more than a few in a row have another reason. */
const maxReplaceAttempts = 10

/** The later of two that end together stays. */
export async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = hiddenBeside(to, `old-${process.pid}`)
  for (let attempt = 1; ; attempt++) {
    const existed = await rename(to, aside).then(
      () => true,
      () => false,
    )
    try {
      await rename(from, to)
      return
    } catch (error) {
      // What was moved aside goes back where nothing took its place.
      if (existed) await rename(aside, to).catch(() => undefined)
      if (!isOccupied(error) || attempt === maxReplaceAttempts) throw error
    } finally {
      if (existed) await rm(aside, { recursive: true, force: true })
    }
  }
}

/** Another compile has put its folder there since ours looked. */
function isOccupied(error: unknown): boolean {
  return ['ENOTEMPTY', 'EEXIST'].includes(systemCode(error))
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

/** Whether this machine has such a process now. */
export function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    return systemCode(error) === 'EPERM'
  }
}

/** A new, empty folder for the result in the making. What lies under its name is from a process that is gone. */
export async function makePartFolder(outFolder: string): Promise<string> {
  const partFolder = hiddenBeside(outFolder, `partial-${process.pid}`)
  await rm(partFolder, { recursive: true, force: true })
  // In two steps: the recursive form never comes back where the system makes no folders, as in /proc.
  await mkdir(dirname(partFolder), { recursive: true })
  await mkdir(partFolder)
  return partFolder
}

const refusals = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOENT', 'ENAMETOOLONG', 'EINVAL'])

/** What the system said of a write, as a sentence for the user; other errors as they are. */
export function explainWriteError(error: unknown, outFolder: string): unknown {
  const code = systemCode(error)
  if (code === 'ENOSPC' || code === 'EFBIG' || code === 'EDQUOT') {
    return new UserError(`the disk is full while writing ${outFolder}; free some space and compile again`, {
      cause: error,
    })
  }
  if (!refusals.has(code)) return error
  return new UserError(
    `${outFolder} cannot be written (${error instanceof Error ? error.message : code}); choose a folder that you may write`,
    { cause: error },
  )
}
