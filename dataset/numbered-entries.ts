// A create-only sequence of small JSON objects below a prefix, numbered from 1. It does not know what they say.
import type { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { parseJson } from './parse-json.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** How often an entry is tried again whose number others took. */
export const maxRaces = 20

/** Eight digits keep the listing in order. */
export function entryKey(prefix: string, number: number): string {
  return `${prefix}${String(number).padStart(8, '0')}.json`
}

/** One entry, or null where there is none. Throws UserError for one that is not of the schema. */
export async function readEntry<Entry>(
  store: ObjectStore,
  key: string,
  schema: z.ZodType<Entry>,
): Promise<Entry | null> {
  const bytes = await store.get(key)
  if (bytes === null) return null
  const entry = schema.safeParse(parseJson(bytes))
  if (entry.success) return entry.data
  throw new UserError(
    `${store.uri}${key} is no entry this version can read; it was changed by hand or written by a newer one`,
    { cause: entry.error },
  )
}

/** Whether it was written; false where another one has its number. */
export async function createEntry(store: ObjectStore, key: string, entry: unknown): Promise<boolean> {
  return (await store.putIfAbsent(key, Buffer.from(`${JSON.stringify(entry)}\n`))) === 'created'
}
