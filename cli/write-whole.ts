// Writing a file so that a reader never sees half of it, and a full disk leaves the old one.
import { rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { explainWriteError } from '../dataset/stores/fs.ts'
import { makeFolder } from '../dataset/stores/make-folder.ts'

/** Makes the folder, writes aside and renames. Throws UserError for what the disk refuses. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const aside = `${path}.partial-${process.pid}`
  try {
    await makeFolder(dirname(path))
    await writeFile(aside, content)
    await rename(aside, path)
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {})
    throw explainWriteError(error, { path })
  }
}
