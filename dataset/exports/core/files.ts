// Writing an export into a folder: blocks, new files only, nothing outside. It does not know formats.
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { systemCode } from '../../../schemas/system-error.ts'
import { explainWriteError } from '../../stores/fs.ts'
import { checkKey } from '../../stores/object-store.ts'
import type { ExportSink, FileSink } from './format.ts'
import { UnfitImage } from './unfit-image.ts'

const blockBytes = 256 * 1024

export function openFolderSink(folder: string): ExportSink {
  return {
    folder,
    async create(path) {
      checkKey(path)
      const full = join(folder, path)
      try {
        await mkdir(dirname(full), { recursive: true })
        return bufferedFile(await open(full, 'wx'), full)
      } catch (error) {
        if (systemCode(error) === 'EEXIST')
          throw new UnfitImage('whose name in the export another image has', { cause: error })
        throw explainWriteError(error, { path: full })
      }
    },
  }
}

function bufferedFile(file: FileHandle, path: string): FileSink {
  let blocks: Buffer[] = []
  let bytes = 0
  const flush = async () => {
    if (bytes === 0) return
    const whole = Buffer.concat(blocks)
    blocks = []
    bytes = 0
    try {
      await file.writeFile(whole)
    } catch (error) {
      throw explainWriteError(error, { path, sizeBytes: whole.length })
    }
  }
  return {
    async write(chunk) {
      const block = typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk)
      blocks.push(block)
      bytes += block.length
      if (bytes >= blockBytes) await flush()
    },
    async close() {
      try {
        await flush()
      } finally {
        await file.close()
      }
    },
  }
}

/** Writes a small file whole. */
export async function writeFileWhole(
  sink: ExportSink,
  path: string,
  content: string | Uint8Array,
): Promise<void> {
  const file = await sink.create(path)
  await file.write(content)
  await file.close()
}

/** Every file of a folder as its path with forward slashes, sorted. */
export async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .toSorted()
}
