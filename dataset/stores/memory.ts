// An ObjectStore in memory, for tests. It does not know that others write to disks.
import { checkKey, compareKeys, defaultPageSize, type ObjectStore } from './object-store.ts'

/** Opens an empty store; everything in it is gone with the process. */
export function openMemoryStore(name = 'test'): ObjectStore {
  const objects = new Map<string, Uint8Array>()
  const read = (key: string) => {
    checkKey(key)
    return objects.get(key)
  }
  return {
    uri: `memory://${name}/`,
    async putIfAbsent(key, bytes) {
      if (read(key) !== undefined) return 'exists'
      objects.set(key, Uint8Array.from(bytes))
      return 'created'
    },
    async get(key) {
      const bytes = read(key)
      return bytes === undefined ? null : Uint8Array.from(bytes)
    },
    async getWithin(key, { maxBytes }) {
      const bytes = read(key)
      if (bytes === undefined) return null
      return { key, sizeBytes: bytes.length, bytes: bytes.length > maxBytes ? null : Uint8Array.from(bytes) }
    },
    async getRange(key, { start, end }) {
      return read(key)?.slice(start, end) ?? null
    },
    async head(key) {
      const bytes = read(key)
      return bytes === undefined ? null : { key, sizeBytes: bytes.length }
    },
    async list({ prefix, after, limit = defaultPageSize }) {
      const keys = [...objects.keys()]
        .filter((key) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0))
        .toSorted(compareKeys)
      const page = keys.slice(0, limit).map((key) => ({ key, sizeBytes: objects.get(key)?.length ?? 0 }))
      return { objects: page, next: keys.length > limit ? (page.at(-1)?.key ?? null) : null }
    },
  }
}
