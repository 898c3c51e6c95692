// What a place for objects is: named, write-once bytes. It does not know runs, records or which implementation it is.
import { UserError } from '../../schemas/errors.ts'

export type ObjectHead = {
  key: string
  sizeBytes: number
  /** Names these very bytes in stores with versions. */
  versionId?: string
  /** The service's own name for the content, without quotes; absent where there is none. */
  etag?: string
  /** Of the bytes, where this program put them and the store keeps what is said of them. */
  sha256?: string
}

/** What one request told of an object; no bytes when there are more than were wanted. */
export type FetchedObject = ObjectHead & { bytes: Uint8Array | null }

export type ObjectPage = { objects: ObjectHead[]; next: string | null }

/** A folder, a bucket prefix or memory. Implementations pass tests/contracts/object-store.ts. */
export type ObjectStore = {
  /** Ends in a slash; a key appended to it (percent-encoded) is the object's URI. */
  readonly uri: string
  /** Writes all bytes under a free key, durably, or nothing at all. A taken key keeps its bytes. */
  putIfAbsent(key: string, bytes: Uint8Array): Promise<'created' | 'exists'>
  /** The whole object, or null where there is none. */
  get(key: string): Promise<Uint8Array | null>
  /** The object and what `head` says of these very bytes, or null where there is none. */
  getWithin(key: string, limit: { maxBytes: number }): Promise<FetchedObject | null>
  /** Bytes [start, end) cut at the object's end, or null where there is none. */
  getRange(key: string, range: { start: number; end: number }): Promise<Uint8Array | null>
  head(key: string): Promise<ObjectHead | null>
  /** Keys that begin with `prefix` and come after `after`, in order of their UTF-8 bytes, at most `limit`. */
  list(page: { prefix: string; after?: string | undefined; limit?: number }): Promise<ObjectPage>
}

/** Bytes of UTF-8; the limit of S3. */
export const maxKeyBytes = 1024
export const defaultPageSize = 1000

/** Throws UserError unless the key is a plain relative path that every store can hold. */
export function checkKey(key: string): void {
  const problem = keyProblem(key)
  if (problem !== null)
    throw new UserError(
      `the object key ${JSON.stringify(key.slice(0, 200))} ${problem}; use a plain relative path`,
    )
}

/** What is wrong with a key, as the end of a sentence, or null when nothing is. */
export function keyProblem(key: string): string | null {
  if (key === '') return 'is empty'
  if (Buffer.byteLength(key) > maxKeyBytes) return `is longer than ${maxKeyBytes} bytes`
  if (key.includes('\0')) return 'contains a NUL character'
  if (key.includes('\\')) return 'contains a backslash'
  if (!key.isWellFormed()) return 'is not well-formed Unicode'
  for (const segment of key.split('/')) {
    if (segment === '') return 'begins or ends with a slash or has two in a row'
    if (segment === '.' || segment === '..') return `contains the segment ${JSON.stringify(segment)}`
    if (Buffer.byteLength(segment) > 255) return 'has a segment longer than 255 bytes'
  }
  return null
}

/** Orders keys by their UTF-8 bytes, as S3 does; plain string comparison differs outside the basic plane. */
export function compareKeys(left: string, right: string): number {
  const shorter = Math.min(left.length, right.length)
  let at = 0
  while (at < shorter && left.charCodeAt(at) === right.charCodeAt(at)) at += 1
  if (at === shorter) return left.length - right.length
  return utf8Rank(left.charCodeAt(at)) - utf8Rank(right.charCodeAt(at))
}

/** UTF-8 puts what UTF-16 writes as surrogates (U+10000 and up) after U+FFFF. */
function utf8Rank(codeUnit: number): number {
  if (codeUnit < 0xd800) return codeUnit
  return codeUnit < 0xe000 ? codeUnit + 0x2000 : codeUnit - 0x800
}

/** The URI of an object in a store. */
export function objectUri(store: ObjectStore, key: string): string {
  return store.uri + key.split('/').map(encodeURIComponent).join('/')
}

/** Every object under a prefix, page by page. */
export async function* listAll(
  store: ObjectStore,
  {
    prefix,
    after,
    pageSize = defaultPageSize,
  }: { prefix: string; after?: string | undefined; pageSize?: number },
): AsyncGenerator<ObjectHead> {
  let next: string | null = after ?? ''
  while (next !== null) {
    const page: ObjectPage = await store.list({
      prefix,
      after: next === '' ? undefined : next,
      limit: pageSize,
    })
    yield* page.objects
    next = page.next
  }
}

/** The names of the folders under a prefix, in order, one request each: what lies in them is not listed. */
export async function* listFolders(store: ObjectStore, prefix = ''): AsyncGenerator<string> {
  let after: string | undefined
  for (;;) {
    const { objects } = await store.list({ prefix, after, limit: 1 })
    const name = objects[0]?.key.slice(prefix.length).split('/')[0]
    if (name === undefined) return
    yield name
    // Behind every key of this folder: no key has U+10FFFF after the slash.
    after = `${prefix}${name}/\u{10ffff}`
  }
}
