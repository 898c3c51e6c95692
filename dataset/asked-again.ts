// Reconcilings of a run, so that who counts work knows that a run whose plan is done is not: a create-only sequence
// below plan/asked-again/. It does not know messages.
import { AskedAgain, askedAgainPrefix, askedAgainVersion } from '../schemas/asked-again.ts'
import { RetryableError, UserError } from '../schemas/errors.ts'
import { parseJson } from './parse-json.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** How often an entry is tried again whose number others took. */
const maxRaces = 20

export async function writeAskedAgain(
  store: ObjectStore,
  { now, ...asked }: Omit<AskedAgain, 'v' | 'createdAt'> & { now: Date },
): Promise<void> {
  const entry: AskedAgain = { v: askedAgainVersion, ...asked, createdAt: now.toISOString() }
  const bytes = Buffer.from(`${JSON.stringify(entry)}\n`)
  let known = 0
  for (let races = 0; races < maxRaces; races += 1) {
    known += (await readAskedAgain(store, known)).length
    if ((await store.putIfAbsent(entryKey(known + 1), bytes)) === 'created') return
  }
  throw new RetryableError(`others reconcile the run ${store.uri} at the same time; try again`)
}

/** Whether there are entries behind the first `known`. */
export async function wasAskedAgain(store: ObjectStore, known: number): Promise<boolean> {
  return (await store.head(entryKey(known + 1))) !== null
}

/** The entries behind the first `known`. */
export async function readAskedAgain(store: ObjectStore, known: number): Promise<AskedAgain[]> {
  const entries: AskedAgain[] = []
  for (;;) {
    const key = entryKey(known + entries.length + 1)
    const bytes = await store.get(key)
    if (bytes === null) return entries
    const entry = AskedAgain.safeParse(parseJson(bytes))
    if (!entry.success)
      throw new UserError(
        `${store.uri}${key} is no entry this version can read; it was changed by hand or written by a newer one`,
        { cause: entry.error },
      )
    entries.push(entry.data)
  }
}

/** Eight digits keep the listing in order. */
function entryKey(number: number): string {
  return `${askedAgainPrefix}${String(number).padStart(8, '0')}.json`
}
