// Keys nobody would choose, from an upload by the SDK over the bucket's event and the queue to a sealed record: each
// image gets exactly one record, under the very key it was put under; a key that no store may be asked for, a named failure.
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../dataset/queues/clock.ts'
import { openSqsQueue } from '../../dataset/queues/sqs.ts'
import { readRecords } from '../../dataset/read.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { runWorker } from '../../gpu-worker/pipeline/worker-loop.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'

const prefix = 'incoming/odd/'
const usable = [
  'plain.png',
  'a b.png',
  'a+b.png',
  'a%20b.png',
  '%2e%2e%2fa.png',
  'a&b=c;d?e#f.png',
  '"quoted" \'single\' `tick`.png',
  '<xml attribute="x">&amp;.png',
  '$(rm -rf ~).png',
  'ünïcödé é\u0301.png',
  '\u{1F600}\u{10ffff}.png',
  '\u202Egnp.exe\u202C.png',
  'CON.png',
  '~.png',
  'tab\there.png',
  'control\u0001.png',
  // As long as S3 allows.
  `${`${'x'.repeat(199)}/`.repeat(5)}`.slice(0, 1024 - prefix.length - 5) + 'x.png',
]
const refused = [
  '../../escape.png',
  'a/./b.png',
  'a//b.png',
  '/lead.png',
  'back\\slash.png',
  `${'x'.repeat(256)}/y.png`,
]

/** By their names they lie beside images. */
const passedOver = ['\u202Egnp.exe', '.png', 'a/.b/c.png', 'a.txt']

test('gives every key its record, unchanged', async () => {
  const { s3, connection, queue, deadLetters } = await openCloud()
  const engine = openCountingEngine()
  const run = openS3Store({ bucket: 'labels', prefix: 'runs/odd/', ...connection })
  const { model, template, capabilities } = engine.info
  const wanted = {
    source: { kind: 'standing' as const, uri: 's3://images/', bucket: 'images' },
    model,
    template,
    tasks: planTasks({
      names: ['caption'],
      questions: [],
      phrases: [],
      model: { name: model.name, template, capabilities },
    }),
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
  }
  await openRun(run, { wanted, now: new Date(), runId: 'odd' })
  for (const [n, name] of [...usable, ...refused, ...passedOver].entries())
    await s3.send(new PutObjectCommand({ Bucket: 'images', Key: prefix + name, Body: numberedPng(n) }))

  await runWorker({
    queue,
    engine,
    sourceOf: (bucket) => openS3Store({ bucket, ...connection }),
    runStoreOf: (runId) => openS3Store({ bucket: 'labels', prefix: `runs/${runId}/`, ...connection }),
    mode: 'drain',
    stop: new AbortController().signal,
    clock: systemClock,
    random: Math.random,
    limits: {
      ...defaultWorkerLimits,
      partAgeMs: 200,
      receiveWaitMs: 500,
      backoffMs: 50,
      maxBackoffMs: 50,
      idleExitMs: 3000,
    },
  })
  await sealRun({ store: run, runId: 'odd', clock: () => new Date() })
  const outcomes: [string, string | undefined][] = []
  for await (const { source, error } of readRecords(run))
    outcomes.push([source.key.slice(prefix.length), error?.code])
  const expected = [
    ...usable.map((name) => [name, undefined] as const),
    ...refused.map((name) => [name, 'source-unreadable'] as const),
  ]
  const byKey = (rows: readonly (readonly [string, string | undefined])[]) =>
    rows.toSorted(([left], [right]) => (left < right ? -1 : 1))
  expect(byKey(outcomes)).toEqual(byKey(expected))
  expect((await deadLetters.stats()).visible).toBe(0)
  expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
})

async function openCloud() {
  const emulator = await startEmulator()
  const { endpoint, region, credentials } = emulator
  const connection = { endpoint, region, credentials, forcePathStyle: true }
  const { queueUrl, deadLettersUrl } = emulator.provision({
    buckets: ['images', 'labels'],
    queue: 'work',
    deadLetters: 'dead',
    maxReceives: 3,
    events: { bucket: 'images', prefix: 'incoming/' },
  })
  const s3 = new S3Client(connection)
  onTestFinished(async () => {
    s3.destroy()
    await emulator.close()
  })
  const queueOf = (url: string) => openSqsQueue({ queueUrl: url, endpoint, region, credentials })
  return { s3, connection, queue: queueOf(queueUrl), deadLetters: queueOf(deadLettersUrl) }
}
