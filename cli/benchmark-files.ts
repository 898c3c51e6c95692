// A benchmark's folder on this machine: the names in it, and its JSON. It does not know layouts.
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { UserError } from '../schemas/errors.ts'
import { type BenchmarkFiles, isImage } from '../dataset/metrics/benchmarks/benchmark.ts'

/** VQAv2's annotations of the training set have 390 MB; a JavaScript string ends at 512. */
const maxFileBytes = 500 * 1024 * 1024

export type BenchmarkPlace = {
  maxImages?: number | undefined
  split?: string | undefined
  /** Another folder that holds the images. */
  images?: string | undefined
}

/** Throws UserError when there is no such folder. */
export async function openBenchmarkFiles(
  path: string,
  { maxImages = Infinity, split, images }: BenchmarkPlace = {},
): Promise<BenchmarkFiles> {
  const folder = resolve(path)
  const names = await listFiles(path, 'a run folder or a benchmark')
  const all = images === undefined ? names : await listFiles(images, "a benchmark's images")
  return {
    folder: path,
    maxImages,
    split,
    names,
    imageFolder: images ?? path,
    imageNames: all.filter(isImage),
    async readJson(name) {
      const text = (await readWhole(folder, name)).toString('utf8').replace(/^\u{feff}/u, '')
      try {
        return JSON.parse(text) as unknown
      } catch (error) {
        throw new UserError(`${name} is not JSON: ${text.slice(0, 80)}`, { cause: error })
      }
    },
    async readLines(name) {
      const text = (await readWhole(folder, name)).toString('utf8').replace(/^\u{feff}/u, '')
      return text.split(/\r?\n/).filter((line) => line.trim() !== '')
    },
    readBytes: async (name) => await readWhole(folder, name),
  }
}

async function listFiles(path: string, expected: string): Promise<string[]> {
  const folder = resolve(path)
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw new UserError(`there is no folder "${path}"; expected ${expected}`, { cause: error })
  })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .toSorted()
}

async function readWhole(folder: string, name: string): Promise<Buffer> {
  const { size } = await stat(join(folder, name))
  if (size > maxFileBytes)
    throw new UserError(`${name} has ${size} bytes; at most ${maxFileBytes} are read, split it`)
  return await readFile(join(folder, name))
}
