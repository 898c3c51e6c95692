// The cloud worker as a process: signals, and servers that stand for ECS and EC2, all of them real.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { readRecords } from '../../dataset/read.ts'
import { sealRun } from '../../dataset/seal.ts'
import { startHttpServer } from '../helpers/http-server.ts'
import { openWorkerCloud } from '../helpers/worker-cloud.ts'

const childPath = new URL('../helpers/worker-child.ts', import.meta.url).pathname

type Line = { event?: string; _aws?: unknown } & Record<string, unknown>

/** Starts a worker that takes `delayMs` an image; `onLine` sees each line as it comes. */
async function runChild(
  environment: Record<string, string>,
  {
    delayMs,
    onLine = () => {},
  }: { delayMs: number; onLine?: (line: Line, signal: (name: NodeJS.Signals) => void) => void },
) {
  const child = spawn(process.execPath, [childPath, String(delayMs)], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: Line[] = []
  let isSignalled = false
  const exit = once(child, 'exit')
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as Line
    lines.push(line)
    onLine(line, (name) => {
      // A second signal would end it at once.
      if (!isSignalled) child.kill(name)
      isSignalled = true
    })
  }
  const [code] = (await exit) as [number | null]
  return { code, lines, endedAtMs: Date.now() }
}

const service = { COGLABEL_MODE: 'service', COGLABEL_PART_IMAGES: '4', COGLABEL_IMAGES_IN_FLIGHT: '2' }

test('SIGTERM: finishes what is under way, gives the rest back, ends with 143', async () => {
  const { environment, queue, store, runId, images } = await openWorkerCloud({
    imageCount: 30,
    perMessage: 3,
  })
  const { code, lines } = await runChild(
    { ...environment, ...service, COGLABEL_STOP_SECONDS: '20' },
    { delayMs: 150, onLine: (line, signal) => line.event === 'part' && signal('SIGTERM') },
  )
  expect(code).toBe(143)
  expect(lines.at(-1)).toMatchObject({ event: 'ended', ended: 'stopped' })
  const stats = await queue.stats()
  expect(stats.inFlight).toBe(0)
  expect(stats.visible).toBeGreaterThan(0)
  // A second worker does the rest, and nothing twice.
  expect((await runChild(environment, { delayMs: 0 })).code).toBe(0)
  await sealRun({ store, runId, clock: () => new Date() })
  const keys: string[] = []
  for await (const { source } of readRecords(store)) keys.push(source.key)
  expect(keys.toSorted()).toEqual(images.map(({ key }) => key).toSorted())
})

test('cuts an image short that would not be ready in time', async () => {
  const { environment, queue } = await openWorkerCloud({ imageCount: 2 })
  let stoppedAtMs = 0
  const { code, endedAtMs } = await runChild(
    { ...environment, ...service, COGLABEL_STOP_SECONDS: '2' },
    {
      delayMs: 60_000,
      onLine: (line, signal) => {
        if (line.event !== 'ready') return
        stoppedAtMs = Date.now()
        setTimeout(() => signal('SIGTERM'), 300)
      },
    },
  )
  expect(code).toBe(143)
  expect(endedAtMs - stoppedAtMs).toBeLessThan(30_000)
  expect(await queue.stats()).toMatchObject({ inFlight: 0, visible: 1 })
}, 90_000)

test('a spot notice is a stop with its own deadline; ECS is told on and off; metrics count it', async () => {
  const { environment, queue } = await openWorkerCloud({ imageCount: 80, perMessage: 4 })
  let isDue = false
  const metadata = await startHttpServer(({ method }) => {
    if (method === 'PUT') return { body: 'token' }
    if (!isDue) return { status: 404 }
    return {
      body: JSON.stringify({ action: 'terminate', time: new Date(Date.now() + 30_000).toISOString() }),
    }
  })
  const agent = await startHttpServer(() => ({ body: '{"protection":{}}' }))
  let noticedAtMs = 0
  const { code, lines, endedAtMs } = await runChild(
    {
      ...environment,
      ...service,
      COGLABEL_SPOT_NOTICE: 'imds',
      COGLABEL_IMDS_ENDPOINT: metadata.endpoint,
      ECS_AGENT_URI: agent.endpoint,
      COGLABEL_METRICS: 'emf',
      COGLABEL_POOL: 'spot',
    },
    {
      delayMs: 50,
      onLine: (line) => {
        if (line.event === 'part') isDue = true
        if (line.event === 'spot-notice') noticedAtMs = Date.now()
      },
    },
  )
  expect(code).toBe(143)
  expect(noticedAtMs).toBeGreaterThan(0)
  expect(endedAtMs - noticedAtMs).toBeLessThan(30_000)
  expect((await queue.stats()).inFlight).toBe(0)
  expect(
    agent.calls.map(({ body }) => (JSON.parse(body) as { ProtectionEnabled: boolean }).ProtectionEnabled),
  ).toEqual([true, false])
  const metrics = lines.filter((line) => line._aws !== undefined)
  expect(metrics.reduce((sum, line) => sum + Number(line['SpotNotice'] ?? 0), 0)).toBe(1)
  const labelled = metrics.find((line) => line['ImagesLabelled'] !== undefined)
  expect(labelled).toMatchObject({ pool: 'spot', model: 'counting' })
  for (const name of ['CommitMs', 'FetchMs', 'DecodeMs', 'InferMs', 'BatchSize'])
    expect(labelled?.[name], name).not.toEqual([])
  const loaded = metrics.find((line) => line['WeightsLoadMs'] !== undefined)
  expect(loaded?.['QueueWaitMs']).toEqual(expect.arrayContaining([expect.any(Number)]))
}, 90_000)
