// What `submit` was given as SRC: something in a bucket of the place, or files of this machine. It uploads nothing.
import { relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ImageSource, openSource } from '../dataset/ingest.ts'
import { isListKey } from '../dataset/plan-lists.ts'
import type { Place } from '../dataset/place.ts'
import { UserError } from '../schemas/errors.ts'
import type { RunSource } from '../schemas/run-config.ts'

/** Images that have to be uploaded come with where they are. */
export type SubmitSource = { source: RunSource; upload: ImageSource | null }

/** Extensions that make SRC one image rather than a folder of them. */
const imageExtension = /\.[a-z0-9]{2,4}$/i

/** A run that labels whatever arrives. */
export function standingSource(place: Place): SubmitSource {
  const bucket = place.uploadBucket
  const { uri } = place.imagesOf(bucket)
  return { source: { kind: 'standing', uri, bucket }, upload: null }
}

/** Throws UserError when there is nothing at SRC, or it asks for more than messages can carry. */
export async function openSubmitSource(src: string, place: Place): Promise<SubmitSource> {
  const inBucket = src.startsWith('s3:') ? splitUri(src) : splitPath(src, place)
  if (inBucket !== null) return { source: sourceIn(inBucket, place), upload: null }
  const upload = await openSource(src, { exclude: placeFolder(place) ?? sep })
  const { images, brings } = await upload.scan()
  if (images === 0)
    throw new UserError(`no images in "${src}"; give a folder of images, one image or a .jsonl manifest`)
  if (brings !== undefined)
    throw new UserError(
      `"${src}" brings questions or phrases for single images, and a submitted run asks all images alike; ` +
        'give them with --ask and --ground, or use coglabel label',
    )
  return { source: upload.source, upload }
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

function sourceIn({ bucket, key }: InBucket, place: Place): RunSource {
  const { uri } = place.imagesOf(bucket)
  if (isListKey(key)) return { kind: 'list', uri: uri + key, bucket, key }
  const isWhole = key === '' || key.endsWith('/') || imageExtension.test(key)
  const prefix = isWhole ? key : `${key}/`
  return { kind: 'bucket', uri: uri + prefix, bucket, prefix }
}
