// An ObjectStore in memory, for tests, and its sweeper. It does not know that others write to disks.
import { checkKey, compareKeys, defaultPageSize, type ObjectStore } from './object-store.ts'
import type { ObjectSweeper } from './object-sweeper.ts'

type Held = { bytes: Uint8Array; modifiedAtMs: number }

/** Opens an empty store; everything in it is gone with the process. */
export function openMemoryStore(name = 'test'): ObjectStore {
  return openMemoryPlace({ name }).store
}

/** An empty store and what deletes in it. */
export function openMemoryPlace({ name = 'test', nowMs = Date.now } = {}): {
  store: ObjectStore
  sweeper: ObjectSweeper
} {
  const objects = new Map<string, Held>()
  const uri = `memory://${name}/`
  return { store: storeOver(objects, { uri, nowMs }), sweeper: sweeperOver(objects, uri) }
}

function storeOver(
  objects: Map<string, Held>,
  { uri, nowMs }: { uri: string; nowMs: () => number },
): ObjectStore {
  const read = (key: string) => {
    checkKey(key)
    return objects.get(key)?.bytes
  }
  return {
    uri,
    async putIfAbsent(key, bytes) {
      if (read(key) !== undefined) return 'exists'
      objects.set(key, { bytes: Uint8Array.from(bytes), modifiedAtMs: nowMs() })
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
    async list(page) {
      const { held, next } = pageOf(objects, page)
      return { objects: held.map(({ key, bytes }) => ({ key, sizeBytes: bytes.length })), next }
    },
  }
}

function sweeperOver(objects: Map<string, Held>, uri: string): ObjectSweeper {
  return {
    uri,
    async list(page) {
      const { held, next } = pageOf(objects, page)
      const aged = held.map(({ key, bytes, modifiedAtMs }) => ({
        key,
        sizeBytes: bytes.length,
        modifiedAtMs,
      }))
      return { objects: aged, next }
    },
    async remove(keys) {
      for (const key of keys) {
        checkKey(key)
        objects.delete(key)
      }
    },
  }
}

function pageOf(
  objects: Map<string, Held>,
  { prefix, after, limit = defaultPageSize }: Parameters<ObjectStore['list']>[0],
): { held: ({ key: string } & Held)[]; next: string | null } {
  const matching = [...objects]
    .filter(([key]) => key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0))
    .toSorted(([left], [right]) => compareKeys(left, right))
  const held = matching.slice(0, limit).map(([key, object]) => ({ key, ...object }))
  return { held, next: matching.length > limit ? (held.at(-1)?.key ?? null) : null }
}
