// Equal bytes in a run of many workers: one image of each is labelled, whoever dies, and the others name it.
import { expect, test } from 'vitest'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import type { WorkImage } from '../../schemas/work-message.ts'
import { seenImagesPrefix } from '../../schemas/seen-image.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { seededRandom, shuffle } from '../helpers/seeded-random.ts'
import { openTestWorld, startDying, testBucket } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const drain = { idleExitMs: 400_000, receiveWaitMs: 5000 }
const exact = { dedupe: 'exact' } as const

/** So many kinds of bytes, each under so many keys. */
async function uploadCopies(bucket: ObjectStore, { kinds, copies }: { kinds: number; copies: number }) {
  const images: WorkImage[] = []
  for (let copy = 0; copy < copies; copy += 1)
    for (let kind = 0; kind < kinds; kind += 1) {
      const key = `copy${copy}/${kind}.png`
      await bucket.putIfAbsent(key, numberedPng(kind))
      images.push({ bucket: testBucket, key, etag: `e${kind}` })
    }
  return images
}

/** Every image has a record; of equal bytes one stands, and the others name it. */
function checkDuplicates(
  records: readonly LabelRecord[],
  { kinds, copies }: { kinds: number; copies: number },
) {
  expect(records).toHaveLength(kinds * copies)
  const stands = new Map(
    records.filter(({ status }) => status === 'ok').map(({ source }) => [source.sha256, source.key]),
  )
  expect(stands.size).toBe(kinds)
  const others = records.filter(({ status }) => status !== 'ok')
  expect(others).toHaveLength(kinds * (copies - 1))
  for (const { status, duplicateOf, source, checks, output } of others) {
    expect({ status, duplicateOf, output }).toEqual({
      status: 'filtered',
      duplicateOf: stands.get(source.sha256),
      output: null,
    })
    expect(checks[0]).toMatchObject({ name: 'image-duplicate', pass: false })
  }
}

test('every event comes three times to three workers, and each kind of bytes is looked at once', async () => {
  const world = await openTestWorld({ claims: 'on', input: exact })
  const size = { kinds: 20, copies: 3 }
  const images = await uploadCopies(world.bucket, size)
  await world.send(shuffle([...images, ...images, ...images], seededRandom(7)), 1)
  const workers = Array.from({ length: 3 }, () => world.start({ limits: { ...drain, imagesHeld: 12 } }))
  for (const worker of workers) await worker.end()
  expect(world.engine.counts.images).toBe(size.kinds)
  checkDuplicates(await world.sealed(), size)
  expect([await world.queue.stats(), await world.dead.stats()]).toEqual([empty, empty])
})

test('a worker dies between saying whose bytes they are and labelling: its image is labelled all the same', async () => {
  const world = await openTestWorld({ input: exact })
  const size = { kinds: 3, copies: 2 }
  const images = await uploadCopies(world.bucket, size)
  await world.send(images.slice(0, 3), 1)
  const dead = await startDying(world, 3)
  let seen = 0
  await dead.work(() => {
    void world.store.list({ prefix: seenImagesPrefix }).then(({ objects }) => (seen = objects.length))
    return seen === 3
  })
  await world.send(images.slice(3), 1)
  const worker = world.start({ limits: drain })
  await worker.end()
  const records = await world.sealed()
  checkDuplicates(records, size)
  // Those of the dead stand, though another worker came to the copies first.
  const standing = records.filter(({ status }) => status === 'ok').map(({ source }) => source.key)
  expect(standing.toSorted()).toEqual(images.slice(0, 3).map(({ key }) => key))
})

test('where the image that stands for others failed, it is tried again and they still name it', async () => {
  let isBroken = true
  const engine = openCountingEngine({ answer: () => (isBroken ? ' ' : undefined) })
  const world = await openTestWorld({ input: exact, engine })
  const size = { kinds: 2, copies: 2 }
  const images = await uploadCopies(world.bucket, size)
  await world.send(images, 1)
  await world.start().end()
  const statuses = (await world.sealed()).map(({ status }) => status).toSorted()
  expect(statuses).toEqual(['failed', 'failed', 'filtered', 'filtered'])
  isBroken = false
  await world.send(images, 1)
  await world.start().end()
  expect(engine.counts.images).toBe(4)
  checkDuplicates(await world.sealed(), size)
})

test('a duplicate is not sent on to the second model, and has a record for each of its tasks', async () => {
  const grounding = openCountingEngine({ digest: '9d'.repeat(32) })
  const world = await openTestWorld({
    tasks: ['caption', 'ground'],
    from: 'caption',
    input: exact,
    grounding,
  })
  const images = await uploadCopies(world.bucket, { kinds: 2, copies: 2 })
  await world.send(images, 1)
  await world.start({ queueOfRole: () => world.groundingQueue }).end()
  await world.start({ engine: grounding, queue: world.groundingQueue }).end()
  expect([world.engine.counts.images, grounding.counts.images]).toEqual([2, 2])
  const records = await world.sealed()
  for (const task of ['caption', 'ground'])
    checkDuplicates(
      records.filter((record) => record.task === task),
      { kinds: 2, copies: 2 },
    )
})

test('a marker that cannot be read costs a labelling, no more', async () => {
  const world = await openTestWorld({ input: exact })
  const images = await uploadCopies(world.bucket, { kinds: 1, copies: 1 })
  const broken: ObjectStore = {
    ...world.store,
    get: async (key) =>
      key.startsWith(seenImagesPrefix) ? Buffer.from('{"v":9') : await world.store.get(key),
    putIfAbsent: async (key, bytes) =>
      key.startsWith(seenImagesPrefix) ? 'exists' : await world.store.putIfAbsent(key, bytes),
  }
  await world.send(images, 1)
  await world.start({ runStoreOf: () => broken }).end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['ok'])
})

test('a run that labels all writes nothing of what it sees', async () => {
  const world = await openTestWorld()
  await world.send(await uploadCopies(world.bucket, { kinds: 1, copies: 2 }), 1)
  await world.start().end()
  expect((await world.store.list({ prefix: seenImagesPrefix })).objects).toEqual([])
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['ok', 'ok'])
})
