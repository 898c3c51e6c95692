// The sealer against the model: random parts, racing sealers, crashes at any call, frozen writers, damaged checkpoints
// and deletions. Whatever happens, the chain says what the model says, and no durable part is lost or sealed twice.
import { expect, test } from 'vitest'
import { findGarbage } from '../../dataset/gc.ts'
import { writePart } from '../../dataset/parts.ts'
import { readRecords } from '../../dataset/read.ts'
import { defaultSealLimits, openSealer, type Sealer } from '../../dataset/seal.ts'
import { loadIdIndex } from '../../dataset/sealed-ids.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { type RecordStatus, statusRank } from '../../schemas/label-record.ts'
import { someRecord } from '../helpers/records.ts'
import { Crash, crashing, modelOf, openSealWorld, slowed } from '../helpers/seal-world.ts'
import { seededRandom } from '../helpers/seeded-random.ts'

const seeds = Array.from({ length: 12 }, (_, seed) => seed + 1)
const steps = 60
const dayMs = 24 * 60 * 60 * 1000

test.each(seeds)('agrees with the model, seed %i', async (seed) => {
  const random = seededRandom(seed)
  const world = openSealWorld()
  const { store, clock, parts, sweeper } = world
  const pick = (count: number) => Math.floor(random() * count)
  const sealerOver = (over: ObjectStore): Sealer =>
    openSealer({
      store: over,
      runId: 'run-test',
      clock: () => new Date(clock.nowMs),
      limits: {
        ...defaultSealLimits,
        maxParts: 1 + pick(4),
        windowParts: 1 + pick(5),
        checkpointEvery: 1 + pick(3),
      },
    })
  const warm = Array.from({ length: 3 }, () => sealerOver(slowed(store, random)))
  const durable: string[] = []
  const frozen: (() => Promise<void>)[] = []
  let written = 0

  const someRecords = () =>
    Array.from({ length: 1 + pick(6) }, () => {
      const statuses: readonly RecordStatus[] = ['ok', 'filtered', 'failed', 'failed']
      const status = statuses[pick(4)] ?? 'ok'
      return someRecord({
        key: `k${pick(40)}`,
        task: pick(3) === 0 ? 'qa' : 'caption',
        status,
        text: `t${written++}`,
      })
    })
  const write = async () => {
    durable.push(await writePart(slowed(store, random), onePerId(someRecords())))
  }
  /** Something under way that sleeps at a put, before it or after. */
  const freezeAt = async (prefix: string, act: (over: ObjectStore) => Promise<unknown>) => {
    const [gate, asleep] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const isPut = random() < 0.5
    const sleepy: ObjectStore = {
      ...store,
      async putIfAbsent(key, bytes) {
        if (!key.startsWith(prefix)) return await store.putIfAbsent(key, bytes)
        const before = isPut ? await store.putIfAbsent(key, bytes) : null
        asleep.resolve()
        await gate.promise
        return before ?? (await store.putIfAbsent(key, bytes))
      },
    }
    const acting = act(sleepy)
    await Promise.race([asleep.promise, acting])
    frozen.push(async () => {
      gate.resolve()
      await acting
    })
  }
  const freezeWriter = async () =>
    await freezeAt('parts/', async (over) => durable.push(await writePart(over, onePerId(someRecords()))))
  const freezeSealer = async () => await freezeAt('manifests/', async (over) => await sealerOver(over).seal())
  const crash = async () => {
    const deadly = crashing(store, { calls: 1 + pick(40), isDone: random() < 0.5 })
    await sealerOver(deadly)
      .seal()
      .catch((error: unknown) => {
        if (!(error instanceof Crash)) throw error
      })
  }
  const damage = async () => {
    const keys: string[] = []
    for await (const { key } of listAll(store, { prefix: 'checkpoints/' })) keys.push(key)
    const key = keys[pick(keys.length)]
    if (key === undefined) return
    const bytes = (await store.get(key)) ?? new Uint8Array()
    bytes[pick(bytes.length)] = pick(256)
    const damages = [null, bytes, bytes.subarray(0, pick(bytes.length))]
    await world.replace(key, damages[pick(3)] ?? null)
  }
  const collect = async () => {
    clock.nowMs += pick(9) * dayMs
    const garbage: string[] = []
    for await (const { key } of findGarbage({ store, sweeper, nowMs: clock.nowMs, minAgeMs: 7 * dayMs }))
      garbage.push(key)
    await sweeper.remove(garbage)
  }
  const race = async () => {
    await Promise.all([...warm, sealerOver(slowed(store, random))].map(async (sealer) => await sealer.seal()))
  }
  const thaw = async () => await frozen.splice(pick(frozen.length), 1)[0]?.()
  const acts = [
    write,
    write,
    write,
    write,
    freezeWriter,
    freezeWriter,
    freezeSealer,
    thaw,
    thaw,
    crash,
    damage,
    collect,
    race,
    async () => void (await warm[0]?.seal()),
  ]

  for (let step = 0; step < steps; step += 1) await acts[pick(acts.length)]?.()
  for (const wake of frozen) await wake()
  await sealerOver(store).seal()

  const model = await modelOf(store, parts)
  const sealed = model.manifests.flatMap((manifest) => manifest.parts)
  expect(new Set(sealed).size).toBe(sealed.length)
  expect(durable.filter((part) => !sealed.includes(part))).toEqual([])
  expect(model.manifests.map((manifest) => manifest.superseded)).toEqual(model.superseded)
  expect(model.manifests.map((manifest) => manifest.duplicates)).toEqual(model.duplicates)
  expect(withoutNone(model.manifests.at(-1)?.totals ?? {})).toEqual(model.totals)
  const read: string[] = []
  for await (const { recordId, status, raw } of readRecords(store)) read.push(`${recordId} ${status} ${raw}`)
  const rows = [...model.rows.values()]
  expect(read.toSorted()).toEqual(
    rows.map(({ recordId, status, raw }) => `${recordId} ${status} ${raw}`).toSorted(),
  )
  const ids = await loadIdIndex(store)
  expect(ids.size).toBe(rows.length)
  for (const { recordId, status } of rows) expect(ids.rankOf(recordId)).toBe(statusRank[status])
})

/** A worker's part has one record an id. */
function onePerId(records: ReturnType<typeof someRecord>[]) {
  return [...new Map(records.map((record) => [record.recordId, record])).values()]
}

function withoutNone(totals: Record<string, Record<string, number>>) {
  return Object.fromEntries(
    Object.entries(totals).filter(([, counts]) => Object.values(counts).some((n) => n > 0)),
  )
}
