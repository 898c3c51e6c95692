// Workers and racing sealers that die at random points of the protocol, events that come up to three times and out of
// order: over the sealed records nothing is missing, nothing doubled and every failure named.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { writeWorkMessages } from '../../dataset/events.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { readRecords } from '../../dataset/read.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { seededRandom, shuffle } from '../helpers/seeded-random.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const workerPath = new URL('../helpers/chaos-worker.ts', import.meta.url).pathname
const clock = () => new Date()
const imageCount = 200
const workersAtOnce = 2
const deathsEach = 6

test.each([1, 2])('loses and doubles nothing when workers are killed at random (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  const folder = await tempFolder()
  const { runId, keys, corrupt } = await prepare(folder, random)
  const store = openFsStore(join(folder, 'labels', 'runs', runId))
  const queue = openFolderQueue(join(folder, 'queue'))

  let [kills, spawned] = [0, 0]
  const work = async (deaths: number) => {
    for (let left = deaths; left > 0; left -= 1) {
      spawned += 1
      const signal = await runChild(
        [folder, runId],
        [Math.floor(random() * 1e9), 5 + Math.floor(random() ** 2 * 250)],
      )
      if (signal === 'SIGKILL') kills += 1
    }
  }
  await Promise.all(Array.from({ length: workersAtOnce }, async () => await work(deathsEach)))
  // One that lives finishes what the others left.
  for (let rounds = 0; rounds < 10; rounds += 1) {
    expect(await runChild([folder, runId], [rounds, 0])).toBe(null)
    const { visible, inFlight, delayed } = await queue.stats()
    if (visible + inFlight + delayed === 0) break
  }
  await Promise.all([sealRun({ store, runId, clock }), sealRun({ store, runId, clock })])

  const records: LabelRecord[] = []
  for await (const record of readRecords(store)) records.push(record)
  expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
  const dead = await openFolderQueue(join(folder, 'dead')).stats()
  expect(dead.visible).toBe(0)
  expect(records.map(({ source }) => source.key).toSorted()).toEqual(keys.toSorted())
  expect(new Set(records.map(({ recordId }) => recordId)).size).toBe(records.length)
  const failed = records.filter(({ status }) => status === 'failed')
  expect(failed.map(({ source }) => source.key).toSorted()).toEqual(corrupt.toSorted())
  expect(failed.every(({ error }) => error !== null && error.message !== '')).toBe(true)
  expect(kills).toBeGreaterThanOrEqual(workersAtOnce * deathsEach - 4)
  const passes = (await readFile(join(folder, 'passes.log'))).length
  console.log(
    `seed ${seed}: ${kills} kills of ${spawned} workers, ${records.length} records, ${(passes / imageCount).toFixed(2)} passes an image, ${Math.max(...records.map(({ attempt }) => attempt))} deliveries at most`,
  )
})

/** A bucket, a run and a queue with every event up to three times. */
async function prepare(folder: string, random: () => number) {
  const { model, template, capabilities } = openCountingEngine().info
  const wanted = {
    source: { kind: 'folder' as const, uri: 'file:///photos/' },
    model,
    template,
    tasks: planTasks({
      names: ['caption'],
      questions: [],
      phrases: [],
      model: { name: model.name, template, capabilities },
    }),
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 },
  }
  const planned = await openRun(openFsStore(join(folder, 'plan')), { wanted, now: clock() })
  const { runId } = planned
  await openRun(openFsStore(join(folder, 'labels', 'runs', runId)), { wanted, now: clock() })
  const names = ['plain', 'with space', 'plus+sign', 'ümlaut', '100%']
  const keys = Array.from(
    { length: imageCount },
    (_, n) => `incoming/${runId}/${names[n % 5]}/${String(n).padStart(4, '0')}.png`,
  )
  const corrupt = keys.filter((_, n) => n % 100 === 50)
  for (const [n, key] of keys.entries()) {
    const path = join(folder, 'buckets', 'photos', key)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, corrupt.includes(key) ? numberedPng(n).subarray(0, 40) : numberedPng(n))
  }
  const events = keys.flatMap((key, n) => {
    const times = 1 + Math.floor(random() * 3)
    const object = {
      key: encodeURIComponent(key).replaceAll('%20', '+').replaceAll('%2F', '/'),
      eTag: `e${n}`,
    }
    const record = {
      eventSource: 'aws:s3',
      eventVersion: '2.6',
      eventName: 'ObjectCreated:Put',
      s3: { bucket: { name: 'photos' }, object },
    }
    const [own = ''] = writeWorkMessages([{ bucket: 'photos', key, etag: `e${n}` }], { runId })
    return Array.from({ length: times }, () => (random() < 0.5 ? own : JSON.stringify({ Records: [record] })))
  })
  const many = writeWorkMessages(
    keys.slice(0, 100).map((key) => ({ bucket: 'photos', key })),
    { runId },
  )
  const queue = openFolderQueue(join(folder, 'queue'))
  const bodies = shuffle([...events, ...many], random)
  for (let at = 0; at < bodies.length; at += 10) await queue.send(bodies.slice(at, at + 10))
  return { runId, keys, corrupt }
}

/** Runs one worker to its end; resolves to the signal that ended it, or null. */
async function runChild(where: readonly string[], numbers: readonly number[]): Promise<string | null> {
  const child = spawn(process.execPath, [workerPath, ...where, ...numbers.map(String)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (data: Buffer) => (said += data.toString()))
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  if (code !== 0 && signal === null) throw new Error(`a worker failed with ${code}: ${said}`)
  return signal
}
