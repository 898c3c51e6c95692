// Pictures of a run that is reviewed on this machine: files as they are, or made upright and showable. It does not know
// pages.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { sha256Hex } from '../dataset/canonical-json.ts'
import type { Place } from '../dataset/place.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { decodeImage } from '../gpu-worker/image/decode.ts'
import { encodeJpeg } from '../gpu-worker/image/encode.ts'
import { makeThumbnail } from '../gpu-worker/image/thumbnail.ts'
import type { Picture } from '../review/app.ts'
import type { IndexedImage } from '../review/index-entry.ts'
import { thumbnailKey } from '../schemas/thumbnail.ts'
import { UserError } from '../schemas/errors.ts'

/** What browsers show, when it stands upright already. */
const shownTypes = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif'])

/** Decodes of large photographs at once, for a list that scrolls by. */
const maxAtOnce = 3

export type PictureSources = {
  store: ObjectStore
  /** For images that lie in buckets; null where there are none. */
  place: Place | null
}

export function openPictures({ store, place }: PictureSources): {
  readPicture: (image: IndexedImage) => Promise<Picture>
  readThumbnail: (image: IndexedImage) => Promise<Picture>
} {
  const turn = takeTurns(maxAtOnce)
  return {
    async readPicture(image) {
      const read = await readImage(image, place)
      if ('problem' in read) return read
      const isReady = image.orientation === 1 && shownTypes.has(image.mime ?? '')
      if (isReady) return { bytes: read.bytes, mime: image.mime ?? '' }
      return await turn(async () => await converted(read.bytes, image))
    },
    async readThumbnail(image) {
      if (image.sha256 === null) return { problem: 'the image was never read' }
      const key = thumbnailKey(image.sha256)
      const known = await store.get(key)
      if (known !== null && isWholeWebp(known)) return { bytes: known, mime: 'image/webp' }
      return await turn(async () => {
        const read = await readImage(image, place)
        if ('problem' in read) return read
        const decoded = await decodeImage(Buffer.from(read.bytes))
        if (!decoded.ok) return { problem: decoded.failure.message }
        const bytes = await makeThumbnail(decoded.image)
        // For the next time; a run that cannot be written to is shown all the same.
        await store.putIfAbsent(key, bytes).catch(() => {})
        return { bytes, mime: 'image/webp' }
      })
    },
  }
}

/** Whether a file of ours is all there: a disk that was full, or a copy that was cut off, leaves less. */
function isWholeWebp(bytes: Uint8Array): boolean {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return (
    view.length > 12 && view.toString('latin1', 8, 12) === 'WEBP' && view.readUInt32LE(4) + 8 === view.length
  )
}

async function converted(bytes: Uint8Array, { key }: IndexedImage): Promise<Picture> {
  try {
    return { bytes: await encodeJpeg(bytes, key), mime: 'image/jpeg' }
  } catch (error) {
    if (error instanceof UserError) return { problem: error.message }
    throw error
  }
}

type Read = { bytes: Uint8Array } | { problem: string }

/** The very bytes that were labelled: boxes over another picture would mislead. */
async function readImage({ uri, sha256 }: IndexedImage, place: Place | null): Promise<Read> {
  const bytes = uri.startsWith('file:')
    ? await readFile(fileURLToPath(uri)).catch(() => null)
    : await readFromBucket(uri, place)
  if (bytes === null) return { problem: `${uri} cannot be read; was it moved or deleted?` }
  if (sha256 !== null && sha256Hex(bytes) !== sha256)
    return { problem: `${uri} has changed since it was labelled, so its labels are not shown over it` }
  return { bytes }
}

async function readFromBucket(uri: string, place: Place | null): Promise<Uint8Array | null> {
  if (place === null || !uri.startsWith('s3:')) return null
  const { hostname, pathname } = new URL(uri)
  return await place.imagesOf(hostname).get(decodeURIComponent(pathname.slice(1)))
}

/** A few at a time; the rest wait in order. */
function takeTurns(max: number) {
  let running = 0
  const waiting: (() => void)[] = []
  return async <T>(job: () => Promise<T>): Promise<T> => {
    if (running >= max) {
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting.push(resolve)
      await promise
    } else running += 1
    try {
      return await job()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }
}
