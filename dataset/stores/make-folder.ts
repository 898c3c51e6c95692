// A folder with all those above it, and an error that says what is wrong. It does not know what goes into it.
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { systemCode } from '../../schemas/system-error.ts'

/**
 * Returns the first folder that was made, undefined where all were there. On a read-only disk Node's own recursive mkdir
 * says ENOENT, as if a folder were missing that it is to make; mkdir of one folder says EROFS.
 */
export async function makeFolder(path: string, { mode = 0o777 } = {}): Promise<string | undefined> {
  try {
    return await mkdir(path, { recursive: true, mode })
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    return await makeOneByOne(path, mode)
  }
}

async function makeOneByOne(path: string, mode: number): Promise<string | undefined> {
  try {
    await mkdir(path, { mode })
    return path
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EEXIST') return undefined
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    const first = await makeOneByOne(dirname(path), mode)
    await mkdir(path, { mode })
    return first ?? path
  }
}
