// Reconcilings of a run, so that who counts work knows that a run whose plan is done is not: a create-only sequence
// below plan/asked-again/. It does not know messages.
import { AskedAgain, askedAgainPrefix, askedAgainVersion } from '../schemas/asked-again.ts'
import { RetryableError } from '../schemas/errors.ts'
import { createEntry, entryKey, maxRaces, readEntry } from './numbered-entries.ts'
import type { ObjectStore } from './stores/object-store.ts'

export async function writeAskedAgain(
  store: ObjectStore,
  { now, ...asked }: Omit<AskedAgain, 'v' | 'createdAt'> & { now: Date },
): Promise<void> {
  const entry: AskedAgain = { v: askedAgainVersion, ...asked, createdAt: now.toISOString() }
  let known = 0
  for (let races = 0; races < maxRaces; races += 1) {
    known += (await readAskedAgain(store, known)).length
    if (await createEntry(store, askedKey(known + 1), entry)) return
  }
  throw new RetryableError(`others reconcile the run ${store.uri} at the same time; try again`)
}

/** Whether there are entries behind the first `known`. */
export async function wasAskedAgain(store: ObjectStore, known: number): Promise<boolean> {
  return (await store.head(askedKey(known + 1))) !== null
}

/** The entries behind the first `known`. */
export async function readAskedAgain(store: ObjectStore, known: number): Promise<AskedAgain[]> {
  const entries: AskedAgain[] = []
  for (;;) {
    const entry = await readEntry(store, askedKey(known + entries.length + 1), AskedAgain)
    if (entry === null) return entries
    entries.push(entry)
  }
}

function askedKey(number: number): string {
  return entryKey(askedAgainPrefix, number)
}
