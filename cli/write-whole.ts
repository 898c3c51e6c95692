// Writing a file so that a reader never sees half of it.
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Written aside and renamed, so that a reader never sees half. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const aside = join(path, '..', '.tmp', `evaluate-${process.pid}`)
  await mkdir(join(aside, '..'), { recursive: true })
  await writeFile(aside, content)
  await rename(aside, path)
}
