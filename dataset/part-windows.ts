// Windows: the folders that parts lie in, open one after the other, so that a sealer finds new parts without listing
// the sealed ones. It does not know what a part holds.
import { InvariantError } from '../schemas/errors.ts'
import { closedWindowsPrefix, partsPrefix } from '../schemas/part.ts'
import { listAll, type ObjectStore } from './stores/object-store.ts'

/** Parts written before there were windows; nobody writes there any more. */
export const unwindowed = 0

const maxWindow = 99_999_999

/** Where a part of this name lies. */
export function partKey(window: number, name: string): string {
  return `${windowFolder(window)}${name}`
}

/** The window of a part by its key. */
export function windowOf(key: string): number {
  const digits = /^parts\/w([0-9]{8})\//.exec(key)?.[1]
  return digits === undefined ? unwindowed : Number(digits)
}

/** Listing from here on, parts of this and of later windows come and no others. */
export function listingStart(window: number): string | undefined {
  // A character below the slash, so that the window's own parts come after it.
  return window === unwindowed ? undefined : windowFolder(window).replace(/\/$/, '.')
}

/**
 * The window that takes parts now: the one after the last that was closed. Closing is create-only and in order, so
 * `known`, a window that was open once, spares listing the earlier ones.
 */
export async function openWindow(store: ObjectStore, known = 1): Promise<number> {
  let open = known
  const after = known === 1 ? {} : { after: closedKey(known - 1) }
  for await (const { key } of listAll(store, { prefix: closedWindowsPrefix, ...after })) {
    const digits = /^closed\/([0-9]{8})$/.exec(key)?.[1]
    if (digits !== undefined) open = Math.max(open, Number(digits) + 1)
  }
  if (open > maxWindow) throw new InvariantError(`${store.uri} has closed its last window, ${maxWindow}`)
  return open
}

/** From now on parts of this window count only when they lie there already. */
export async function closeWindow(store: ObjectStore, window: number): Promise<void> {
  await store.putIfAbsent(closedKey(window), new Uint8Array())
}

/** Last windows known to be open, by store: a first guess, which is looked at before it is used. */
const guesses = new WeakMap<ObjectStore, number>()

/**
 * Writes an object into the open window and returns its key. The order makes it safe against writers that sleep:
 * a sealer closes a window and then lists it a last time; we write and then look whether the window was closed.
 * Either the last listing has the part, or we see that it is closed, and write it again where it will be found.
 */
export async function putInOpenWindow(
  store: ObjectStore,
  { name, bytes }: { name: string; bytes: Uint8Array },
): Promise<string> {
  let window = guesses.get(store) ?? 1
  for (;;) {
    // Not needed for safety: a copy that does not count costs more than to look.
    if (await isClosed(store, window)) window = await openWindow(store, window)
    guesses.set(store, window)
    const key = partKey(window, name)
    await store.putIfAbsent(key, bytes)
    if (!(await isClosed(store, window))) return key
  }
}

async function isClosed(store: ObjectStore, window: number): Promise<boolean> {
  return (await store.head(closedKey(window))) !== null
}

function windowFolder(window: number): string {
  return `${partsPrefix}w${eightDigits(window)}/`
}

function closedKey(window: number): string {
  return closedWindowsPrefix + eightDigits(window)
}

function eightDigits(window: number): string {
  return String(window).padStart(8, '0')
}
