// What `submit` was given as SRC: something in a bucket of the place, or files of this machine. It uploads nothing.
import { relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ImageSource, openSource } from '../dataset/ingest.ts'
import { hasImageExtension } from '../dataset/image-keys.ts'
import { isListKey, scanList } from '../dataset/plan-lists.ts'
import type { Place } from '../dataset/place.ts'
import { UserError } from '../schemas/errors.ts'
import type { RunSource } from '../schemas/run-config.ts'
import type { Brings } from '../schemas/work-item.ts'

export type SubmitSource = {
  source: RunSource
  /** Where the images are that have to be uploaded. */
  upload: ImageSource | null
  /** What images bring themselves; absent where none brings anything. */
  brings?: Brings
}

/** A run that labels whatever arrives. */
export function standingSource(place: Place): SubmitSource {
  const bucket = place.uploadBucket
  const { uri } = place.imagesOf(bucket)
  return { source: { kind: 'standing', uri, bucket }, upload: null }
}

/** Throws UserError when there is nothing at SRC, or it asks for more than messages can carry. */
export async function openSubmitSource(src: string, place: Place): Promise<SubmitSource> {
  const inBucket = src.startsWith('s3:') ? splitUri(src) : splitPath(src, place)
  if (inBucket !== null) return await openInBucket(inBucket, place)
  const upload = await openSource(src, { exclude: placeFolder(place) ?? sep, forMessages: true })
  const { images, brings } = await upload.scan()
  if (images === 0)
    throw new UserError(`no images in "${src}"; give a folder of images, one image or a .jsonl manifest`)
  return { source: upload.source, upload, ...(brings === undefined ? {} : { brings }) }
}

type InBucket = { bucket: string; key: string }

function splitUri(src: string): InBucket {
  const [, bucket, key = ''] = /^s3:\/\/([^/]+)\/?(.*)$/s.exec(src) ?? []
  if (bucket === undefined) throw new UserError(`"${src}" names no bucket; expected s3://bucket/prefix`)
  return { bucket, key }
}

/** A path in `buckets/<name>/` of a folder that is the place: those images lie where workers read already. */
function splitPath(src: string, place: Place): InBucket | null {
  const folder = placeFolder(place)
  if (folder === null) return null
  const parts = relative(resolve(folder, 'buckets'), resolve(src)).split(sep)
  const [bucket = '', ...rest] = parts
  return bucket === '' || bucket === '..' ? null : { bucket, key: rest.join('/') }
}

function placeFolder(place: Place): string | null {
  return place.uri.startsWith('file:') ? fileURLToPath(place.uri) : null
}

async function openInBucket({ bucket, key }: InBucket, place: Place): Promise<SubmitSource> {
  const store = place.imagesOf(bucket)
  // Not taken for a prefix, nor for a list that planner and scaler may not read.
  if (!isListKey(key) && isListKey(key.toLowerCase()))
    throw new UserError(
      `${store.uri}${key} ends as a list does, but not in small letters, and the planner may read no other; copy it to ${key.toLowerCase().split('/').at(-1)}`,
    )
  if (!isListKey(key)) return { source: prefixIn({ bucket, key }, place), upload: null }
  const brings = await scanList(store, { key, bucket })
  const source = { kind: 'list' as const, uri: store.uri + key, bucket, key }
  return { source, upload: null, ...(brings === null ? {} : { brings }) }
}

function prefixIn({ bucket, key }: InBucket, place: Place): RunSource {
  const { uri } = place.imagesOf(bucket)
  const isWhole = key === '' || key.endsWith('/') || hasImageExtension(key)
  const prefix = isWhole ? key : `${key}/`
  return { kind: 'bucket', uri: uri + prefix, bucket, prefix }
}
