// ListObjectsV2: order, prefix, delimiter and paging. It does not know HTTP beyond its parameters.
import { keysFrom, type Bucket } from './s3-state.ts'
import { AwsError, encodeStrict, queryValue, type WireRequest } from './wire.ts'
import type { XmlTree } from './xml.ts'

const maxPageKeys = 1000

/** The answer's elements. Keys and prefixes are encoded when the request says `encoding-type=url`. */
export function listObjects(bucket: Bucket, request: WireRequest): XmlTree {
  const prefix = queryValue(request, 'prefix') ?? ''
  const delimiter = queryValue(request, 'delimiter') ?? ''
  const startAfter = queryValue(request, 'start-after')
  const token = queryValue(request, 'continuation-token')
  const pageSize = readPageSize(queryValue(request, 'max-keys'))
  const isUrl = queryValue(request, 'encoding-type') === 'url'
  const encode = isUrl ? encodeListed : (text: string) => text
  const after = token === undefined ? (startAfter ?? '') : readToken(token)
  const { keys, prefixes, next } = readPage(bucket, { prefix, delimiter, after, pageSize })
  return {
    Name: bucket.name,
    Prefix: encode(prefix),
    Delimiter: delimiter === '' ? undefined : encode(delimiter),
    StartAfter: startAfter === undefined ? undefined : encode(startAfter),
    ContinuationToken: token,
    EncodingType: isUrl ? 'url' : undefined,
    MaxKeys: pageSize,
    KeyCount: keys.length + prefixes.length,
    IsTruncated: next !== null,
    NextContinuationToken: next === null ? undefined : Buffer.from(next).toString('base64url'),
    Contents: keys.map((key) => {
      const object = bucket.objects.get(key)
      return {
        Key: encode(key),
        LastModified: new Date(object?.modifiedAtMs ?? 0).toISOString(),
        ETag: object?.etag,
        Size: object?.bytes.length,
        StorageClass: 'STANDARD',
      }
    }),
    CommonPrefixes: prefixes.map((common) => ({ Prefix: encode(common) })),
  }
}

type Page = {
  keys: string[]
  prefixes: string[]
  /** The last entry, when more follow. */ next: string | null
}

function readPage(
  bucket: Bucket,
  {
    prefix,
    delimiter,
    after,
    pageSize,
  }: { prefix: string; delimiter: string; after: string; pageSize: number },
): Page {
  const page: Page = { keys: [], prefixes: [], next: null }
  let last = after
  const [afterBytes, prefixBytes] = [Buffer.from(after), Buffer.from(prefix)]
  const from = Buffer.compare(afterBytes, prefixBytes) > 0 ? afterBytes : prefixBytes
  for (const key of keysFrom(bucket, from)) {
    if (!key.startsWith(prefix)) break
    if (key === after) continue
    const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    const common = cut < 0 ? null : key.slice(0, cut + delimiter.length)
    // A common prefix stands for all keys below it, also on the page after the one that named it.
    if (common !== null && (common === after || common === page.prefixes.at(-1))) continue
    if (page.keys.length + page.prefixes.length === pageSize) {
      page.next = pageSize === 0 ? null : last
      break
    }
    if (common === null) page.keys.push(key)
    else page.prefixes.push(common)
    last = common ?? key
  }
  return page
}

function readPageSize(text: string | undefined): number {
  if (text === undefined) return maxPageKeys
  const size = Number(text)
  if (!Number.isInteger(size) || size < 0)
    throw new AwsError('InvalidArgument', `Provided max-keys not an integer or within integer range: ${text}`)
  return Math.min(size, maxPageKeys)
}

function readToken(token: string): string {
  if (!/^[\w-]+$/.test(token))
    throw new AwsError('InvalidArgument', 'The continuation token provided is incorrect')
  return Buffer.from(token, 'base64url').toString()
}

/** As S3 writes keys in listings: slashes stay, a space is a plus sign. */
export function encodeListed(key: string): string {
  return encodeStrict(key).replaceAll('%2F', '/').replaceAll('%20', '+').replaceAll('%2A', '*')
}
