// A benchmark's folder on this machine: the names in it, and its JSON. It does not know layouts.
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { UserError } from '../schemas/errors.ts'
import type { BenchmarkFiles } from '../dataset/metrics/benchmarks/benchmark.ts'

/** VQAv2's annotations of the training set have 390 MB; a JavaScript string ends at 512. */
const maxFileBytes = 500 * 1024 * 1024

/** Throws UserError when there is no such folder. */
export async function openBenchmarkFiles(path: string, maxImages = Infinity): Promise<BenchmarkFiles> {
  const folder = resolve(path)
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw new UserError(`there is no folder "${path}"; expected a run folder or a benchmark`, {
      cause: error,
    })
  })
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .toSorted()
  const read = async (name: string) => {
    const { size } = await stat(join(folder, name))
    if (size > maxFileBytes)
      throw new UserError(`${name} has ${size} bytes; at most ${maxFileBytes} are read, split it`)
    return (await readFile(join(folder, name), 'utf8')).replace(/^\u{feff}/u, '')
  }
  return {
    folder: path,
    maxImages,
    names,
    async readJson(name) {
      const text = await read(name)
      try {
        return JSON.parse(text) as unknown
      } catch (error) {
        throw new UserError(`${name} is not JSON: ${text.slice(0, 80)}`, { cause: error })
      }
    },
    async readLines(name) {
      return (await read(name)).split(/\r?\n/).filter((line) => line.trim() !== '')
    },
  }
}
