// What sealing costs: generation 2 against generation 1,000, each by a sealer that has just started, and records per
// second and memory for many records at once.
//   node bench/seal.ts [--generations 1000] [--records 1000] [--bulk 1000000] [--folder DIR]
// A folder in memory (/dev/shm) leaves out what the disk takes to make files durable.
// Records are made up (captions of random words) and go through the real part writer. Prints a JSON line per
// measurement and a table.
import { fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { writePart } from '../dataset/parts.ts'
import { openSealer, sealRun } from '../dataset/seal.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { LabelRecord } from '../schemas/label-record.ts'

const words =
  'a the red blue small large cat dog bird house tree river on under beside with near two three old'.split(
    ' ',
  )

const { values } = parseArgs({
  options: {
    generations: { type: 'string', default: '1000' },
    records: { type: 'string', default: '1000' },
    bulk: { type: 'string', default: '1000000' },
    folder: { type: 'string', default: tmpdir() },
    child: { type: 'string' },
  },
})

/** What one measuring process reports: so that no warm memory or earlier peak is in it. */
const Sealed = z.object({
  generations: z.number(),
  wallMs: z.number(),
  cpuMs: z.number(),
  peakRssMb: z.number(),
  requests: z.record(z.string(), z.number()),
  readBytes: z.number(),
})

/** A part of a worker with the default limits: 64 images, three tasks. */
const recordsPerPart = 192

if (values.child === undefined) await measureAll()
else await sealHere(values.child)

async function measureAll(): Promise<void> {
  const folder = await mkdtemp(join(values.folder, 'coglabel-seal-'))
  try {
    await measureGenerations(join(folder, 'steps'))
    if (Number(values.bulk) > 0) await measureBulk(join(folder, 'bulk'), Number(values.bulk))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Each step writes parts and seals them in a process of its own where it is measured, and in this one between. */
async function measureGenerations(place: string): Promise<void> {
  const store = openFsStore(place)
  const [count, recordsEach] = [Number(values.generations), Number(values.records)]
  const sealer = openSealer({ store, runId: 'run-bench', clock: () => new Date() })
  const rows: Record<string, string | number>[] = []
  for (let generation = 1; generation <= count; generation += 1) {
    await writeRecords(store, { from: generation * recordsEach, count: recordsEach })
    if (isMeasured(generation, count)) {
      const row = { bench: 'generation', generation, records: recordsEach, ...(await sealInChild(place)) }
      console.log(JSON.stringify(row))
      const { requests, ...numbers } = row
      rows.push({ ...numbers, requests: Object.values(requests).reduce((sum, n) => sum + n, 0) })
    } else await sealer.seal()
  }
  console.table(rows)
  const [early, late] = [rows.filter((row) => isEarly(row)), rows.filter((row) => !isEarly(row))]
  const ratioOf = (field: string) =>
    (median(late.map((row) => Number(row[field]))) / median(early.map((row) => Number(row[field])))).toFixed(
      2,
    )
  console.log(
    JSON.stringify({
      bench: 'ratio of the last generations to the first',
      wall: ratioOf('wallMs'),
      cpu: ratioOf('cpuMs'),
      requests: ratioOf('requests'),
      readBytes: ratioOf('readBytes'),
    }),
  )
}

/** The first nine after generation 1 and the last nine: a checkpoint is made in one of eight. */
function isMeasured(generation: number, count: number): boolean {
  return (generation >= 2 && generation <= 10) || generation > count - 9
}

function isEarly(row: Record<string, string | number>): boolean {
  return Number(row['generation']) <= 10
}

async function measureBulk(place: string, count: number): Promise<void> {
  const store = openFsStore(place)
  const start = performance.now()
  await writeRecords(store, { from: 0, count })
  const writeMs = performance.now() - start
  const sealed = await sealInChild(place)
  const row = {
    bench: 'bulk',
    records: count,
    ...sealed,
    perSecond: Math.round((count / sealed.wallMs) * 1000),
    writeMs: Math.round(writeMs),
  }
  console.log(JSON.stringify(row))
  const { requests: _, ...numbers } = row
  console.table([numbers])
}

async function sealInChild(place: string): Promise<z.infer<typeof Sealed>> {
  const child = fork(fileURLToPath(import.meta.url), ['--child', place], { stdio: 'inherit' })
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  child.once('message', resolve)
  child.once('exit', (code) => reject(new Error(`the sealer ended with ${code}`)))
  return Sealed.parse(await promise)
}

/** Runs in the child: seals once and tells what it took, from the call on. */
async function sealHere(place: string): Promise<void> {
  const requests: Record<string, number> = {}
  const read = { bytes: 0 }
  const store = counted(openFsStore(place), requests, read)
  const [startMs, startCpu] = [performance.now(), process.cpuUsage()]
  const { generations } = await sealRun({ store, runId: 'run-bench', clock: () => new Date() })
  const { user, system } = process.cpuUsage(startCpu)
  process.send?.({
    generations,
    wallMs: Math.round((performance.now() - startMs) * 10) / 10,
    cpuMs: Math.round((user + system) / 100) / 10,
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
    requests,
    readBytes: read.bytes,
  })
  process.disconnect()
}

function counted(store: ObjectStore, requests: Record<string, number>, read: { bytes: number }): ObjectStore {
  const count = (name: string) => void (requests[name] = (requests[name] ?? 0) + 1)
  const taken = (bytes: Uint8Array | null) => {
    read.bytes += bytes?.length ?? 0
    return bytes
  }
  return {
    ...store,
    putIfAbsent: async (key, bytes) => (count('put'), await store.putIfAbsent(key, bytes)),
    get: async (key) => (count('get'), taken(await store.get(key))),
    async getWithin(key, limit) {
      count('get')
      const fetched = await store.getWithin(key, limit)
      taken(fetched?.bytes ?? null)
      return fetched
    },
    getRange: async (key, range) => (count('getRange'), taken(await store.getRange(key, range))),
    head: async (key) => (count('head'), await store.head(key)),
    list: async (page) => (count('list'), await store.list(page)),
  }
}

async function writeRecords(
  store: ObjectStore,
  { from, count }: { from: number; count: number },
): Promise<void> {
  for (let at = 0; at < count; at += recordsPerPart) {
    const size = Math.min(recordsPerPart, count - at)
    await writePart(
      store,
      Array.from({ length: size }, (_, n) => makeRecord(from + at + n)),
    )
  }
}

/** A record of about 1.3 kB; number n is always the same. */
function makeRecord(n: number): LabelRecord {
  const hash = sha256Hex(`record ${n}`)
  const text = Array.from(
    { length: 24 },
    (_, at) => words[parseInt(hash.slice(at * 2, at * 2 + 2), 16) % words.length],
  ).join(' ')
  const image = Math.floor(n / 3)
  const task = ['caption', 'detailed-caption', 'qa'][n % 3] ?? 'caption'
  const key = `images/${String(image % 1000).padStart(3, '0')}/photo-${image}.jpg`
  return LabelRecord.parse({
    v: 1,
    recordId: hash.slice(0, 32),
    runId: 'run-bench',
    specHash: sha256Hex(task),
    task,
    taskVersion: 1,
    ordinal: 0,
    attempt: 1,
    source: {
      uri: `s3://images/${key}`,
      key,
      sha256: sha256Hex(`image ${image}`),
      bytes: 100_000 + (image % 9973),
      mime: 'image/jpeg',
    },
    image: { width: 640, height: 480, storedWidth: 640, storedHeight: 480, orientation: 1 },
    status: n % 50 === 0 ? 'failed' : 'ok',
    output: n % 50 === 0 ? null : { text },
    raw: text,
    finishReason: 'stop',
    usage: { promptTokens: 40, imageTokens: 258, outputTokens: 24 + (n % 7) },
    model: {
      name: 'scenes-v2',
      digest: sha256Hex('model'),
      weights: 'int8',
      licence: 'apache-2.0',
      engine: 'onnxruntime-node/cpu/int8',
      engineVersion: '1.30.0',
    },
    prompt: { template: 'chat', text: 'Question: Describe the image. Answer:' },
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
    checks: [],
    error: n % 50 === 0 ? { code: 'answer-empty', message: 'the model said nothing' } : null,
    timing: {
      fetchMs: 3 + (n % 11),
      decodeMs: 7 + (n % 13),
      prefillMs: 31 + (n % 17),
      generateMs: 120 + (n % 101),
    },
    createdAt: '2026-11-25T12:00:00.000Z',
  })
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((left, right) => left - right)[numbers.length >> 1] ?? Number.NaN
}
