// Thumbnails: what is in them, where they lie, and that none is worth a record.
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import { makeThumbnail } from '../../gpu-worker/image/thumbnail.ts'
import { keepThumbnails } from '../../gpu-worker/pipeline/thumbnails.ts'
import { openTestWorld } from '../helpers/test-worker.ts'

const stillClock = { sleep: async () => await new Promise<void>(() => {}) }

const flat = (width: number, height: number) => ({
  rgb: new Uint8Array(width * height * 3).fill(128),
  width,
  height,
})

test.each([
  [640, 480, 320, 240],
  [480, 640, 240, 320],
  [100, 60, 100, 60],
  [5000, 3, 320, 1],
  [1, 1, 1, 1],
])('an image of %i x %i becomes one of %i x %i', async (width, ...[height, wide, high]) => {
  const { format, ...size } = await sharp(await makeThumbnail(flat(width, height))).metadata()
  expect([format, size.width, size.height]).toEqual(['webp', wide, high])
})

test('stands upright when the file lies on its side', async () => {
  const halves = Buffer.alloc(400 * 200 * 3)
  for (let at = 0; at < halves.length; at += 3) halves[at] = (at / 3) % 400 < 200 ? 255 : 0
  // Orientation 6: shown turned a quarter clockwise, so the left half is on top.
  const jpeg = await sharp(halves, { raw: { width: 400, height: 200, channels: 3 } })
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toBuffer()
  const decoded = await decodeImage(jpeg)
  if (!decoded.ok) throw new Error(decoded.failure.message)
  const { data, info } = await sharp(await makeThumbnail(decoded.image))
    .raw()
    .toBuffer({ resolveWithObject: true })
  expect([info.width, info.height]).toEqual([160, 320])
  const redAt = (y: number) => data[(y * info.width + 80) * info.channels]
  expect(redAt(40)).toBeGreaterThan(240)
  expect(redAt(280)).toBeLessThan(15)
})

test('a worker keeps one beside the parts for every image, before its message is deleted', async () => {
  const world = await openTestWorld()
  const images = await world.upload(6)
  await world.bucket.putIfAbsent('same.png', (await world.bucket.get(images[0]!.key))!)
  await world.bucket.putIfAbsent('broken.png', Buffer.from('no image'))
  await world.send([
    ...images,
    { bucket: 'photos', key: 'same.png' },
    { bucket: 'photos', key: 'broken.png' },
  ])
  const errors: unknown[] = []
  const thumbnailsOf = keepThumbnails({
    runStoreOf: world.storeOf,
    clock: stillClock,
    onError: (error) => errors.push(error),
  })
  await world.start({ thumbnailsOf }).end()
  const records = await world.sealed()
  const hashes = new Set(records.flatMap(({ source }) => source.sha256 ?? []))
  const { objects } = await world.store.list({ prefix: 'thumbs/' })
  const decoded = [...hashes].filter((sha256) =>
    records.some(({ source, image }) => source.sha256 === sha256 && image !== null),
  )
  expect(objects.map(({ key }) => key)).toEqual(
    decoded.map((sha256) => `thumbs/${sha256.slice(0, 2)}/${sha256}.webp`).toSorted(),
  )
  expect([records.length, objects.length, errors]).toEqual([8, 6, []])
})

test.each<[string, ObjectStore['putIfAbsent']]>([
  ['refuses', async () => await Promise.reject(new Error('access denied'))],
  ['hangs', async () => await new Promise(() => {})],
])('a store that %s costs the picture and no record', async (_name, putIfAbsent) => {
  const world = await openTestWorld()
  await world.send(await world.upload(4))
  const errors: unknown[] = []
  const thumbnailsOf = keepThumbnails({
    runStoreOf: () => ({ ...world.store, putIfAbsent }),
    clock: world.clock,
    onError: (error) => errors.push(error),
  })
  await world.start({ thumbnailsOf }).end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['ok', 'ok', 'ok', 'ok'])
  expect(errors).toHaveLength(4)
})

test('wants an image once, however often it is asked about', async () => {
  let puts = 0
  const store = openMemoryStore()
  const thumbnailsOf = keepThumbnails({
    runStoreOf: () => ({
      ...store,
      async putIfAbsent(key, bytes) {
        puts += 1
        return await store.putIfAbsent(key, bytes)
      },
    }),
    clock: stillClock,
    onError: () => {},
  })
  const [webp, sha256] = [await makeThumbnail(flat(8, 8)), 'ab'.repeat(32)]
  const keepIfWanted = async (runId: string) => {
    if (thumbnailsOf(runId).wants(sha256)) await thumbnailsOf(runId).keep(sha256, webp)
  }
  for (let times = 0; times < 3; times += 1) await keepIfWanted('r1')
  expect(puts).toBe(1)
  await keepIfWanted('r2')
  expect(puts).toBe(2)
})
