// Deleting in a folder. Symbolic links are never followed out of it. It does not know runs or records.
import { lstat, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { explainWriteError, openFsStore } from './fs.ts'
import type { AgedObject, ObjectSweeper } from './object-sweeper.ts'

/** Opens the folder of a store for sweeping. Throws UserError where deleting is not permitted. */
export function openFsSweeper(folder: string): ObjectSweeper {
  const root = resolve(folder)
  const store = openFsStore(root)
  return {
    uri: store.uri,
    async list(page) {
      const { objects, next } = await store.list(page)
      const aged: AgedObject[] = []
      for (const { key, sizeBytes } of objects) {
        const stats = await lstat(join(root, key)).catch(() => null)
        if (stats !== null) aged.push({ key, sizeBytes, modifiedAtMs: stats.mtimeMs })
      }
      return { objects: aged, next }
    },
    async remove(keys) {
      for (const key of keys) {
        // What the store would not read, because it is no file or lies outside, is not deleted either.
        if ((await store.head(key)) === null) continue
        const path = join(root, key)
        await rm(path, { force: true }).catch((error: unknown) => {
          throw explainWriteError(error, { path })
        })
      }
    },
  }
}
