// Decoding in processes of its own: the same as here, and what kills, freezes or fills a decoder costs one image.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { defaultDecodeLimits } from '../../gpu-worker/image/decode.ts'
import { type DecoderPool, openDecoderPool } from '../../gpu-worker/image/decoder-pool.ts'
import { decodeHere, type WantedImage } from '../../gpu-worker/image/prepare.ts'
import { numberedPng, slowPng } from '../helpers/images.ts'
import { numberedPhoto } from '../helpers/photos.ts'
import { isRunning, untilGone } from '../helpers/processes.ts'

const pools: DecoderPool[] = []
afterEach(async () => {
  await Promise.all(pools.splice(0).map(async (pool) => await pool.close()))
})

const limits = defaultDecodeLimits
const form = { kind: 'pixels', size: 28, mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] } as const
const wanted: WantedImage = { limits, form }
/** Is decoded for longer than a test needs to strike. */
let slow: Buffer
const small = numberedPng(1)
beforeAll(() => {
  slow = slowPng()
})

/** A pool of which one process runs already. */
async function openPool(options: Parameters<typeof openDecoderPool>[0] = {}): Promise<DecoderPool> {
  const pool = openDecoderPool({ processes: 1, ...options })
  pools.push(pool)
  await pool.prepare(small, wanted)
  return pool
}

/** Strikes the pool's only process while it decodes; returns its number. */
async function strike(pool: DecoderPool, signalName: 'SIGKILL' | 'SIGSTOP'): Promise<number> {
  await wait(100)
  const [processId] = pool.processIds
  if (processId === undefined) throw new Error('no decoder runs')
  process.kill(processId, signalName)
  return processId
}

async function untilAnother(pool: DecoderPool, processId: number): Promise<void> {
  while (pool.processIds.every((other) => other === processId)) await wait(5)
}

describe('a pool of decoders', () => {
  test.each<[string, () => Buffer | Promise<Buffer>, Partial<WantedImage>]>([
    ['a tensor', async () => await numberedPhoto(1), {}],
    [
      'a thumbnail and a print',
      async () => await numberedPhoto(2),
      { hasThumbnail: true, hasThumbprint: true },
    ],
    [
      'a picture within limits',
      async () => await numberedPhoto(3),
      { form: { kind: 'picture', grid: 28, minPixels: 784, maxPixels: 10_000 } },
    ],
    ['an image that a rule turns down', () => small, { rules: { minSide: 9 }, hasThumbnail: true }],
    ['a file that is no image', () => Buffer.from('no image'), {}],
    ['an empty file', () => Buffer.alloc(0), {}],
    ['a view into a larger buffer', () => Buffer.concat([Buffer.alloc(8), small]).subarray(8), {}],
    ['a file over the limit', () => small, { limits: { ...limits, maxBytes: 10 } }],
    ['pixels over the limit', () => slow, { limits: { ...limits, maxPixels: 1000 } }],
  ])('gives what this process gives: %s', async (...[, make, more]) => {
    const [pool, bytes] = [await openPool(), await make()]
    const here = await decodeHere.prepare(bytes, { ...wanted, ...more })
    expect(await pool.prepare(bytes, { ...wanted, ...more })).toEqual(here)
  })

  test('decodes no more images at a time than it may, and starts no more processes', async () => {
    const pool = await openPool({ processes: 2 })
    expect(pool.processIds).toHaveLength(1)
    const photos = await Promise.all(Array.from({ length: 12 }, async (_, n) => await numberedPhoto(n)))
    const results = await Promise.all(photos.map(async (bytes) => await pool.prepare(bytes, wanted)))
    expect(results.every(({ ok }) => ok)).toBe(true)
    expect(new Set(pool.processIds).size).toBe(2)
    expect(pool.deathCount).toBe(0)
  })
})

describe('a decoder that is struck', () => {
  test('by a kill is started again, and the image is decoded after all', async () => {
    const pool = await openPool()
    const [before] = pool.processIds
    const prepared = pool.prepare(slow, wanted)
    await strike(pool, 'SIGKILL')
    expect(await prepared).toMatchObject({ ok: true })
    expect(pool.processIds).not.toContain(before)
    expect(pool.deathCount).toBe(1)
  })

  test('by a kill each time it has the same image costs that image and no other', async () => {
    const pool = await openPool()
    const bad = pool.prepare(slow, wanted)
    const good = [1, 2, 3, 4].map(async (n) => await pool.prepare(await numberedPhoto(n), wanted))
    await untilAnother(pool, await strike(pool, 'SIGKILL'))
    await strike(pool, 'SIGKILL')
    expect(await bad).toMatchObject({ ok: false, failure: { code: 'decoder-crashed' } })
    expect((await Promise.all(good)).map(({ ok }) => ok)).toEqual([true, true, true, true])
    expect(pool.deathCount).toBe(2)
  })

  test('by a freeze is ended when its time is up, and the next image goes to a fresh one', async () => {
    const pool = await openPool()
    const bad = pool.prepare(slow, { ...wanted, limits: { ...limits, timeoutSeconds: 1 } })
    const frozen = await strike(pool, 'SIGSTOP')
    const good = pool.prepare(small, wanted)
    expect(await bad).toMatchObject({ ok: false, failure: { code: 'timed-out' } })
    expect(await good).toMatchObject({ ok: true })
    expect(pool.processIds).not.toContain(frozen)
    await untilGone(frozen)
  })

  test('while it has nothing to do costs nothing', async () => {
    const pool = await openPool()
    await untilGone(await strike(pool, 'SIGKILL'))
    expect(await pool.prepare(small, wanted)).toMatchObject({ ok: true })
    expect(pool.deathCount).toBe(0)
  })
})

test('an image that takes more memory than a decoder may hold fails by that name, and no other does', async () => {
  const pool = await openPool({ memoryBytes: 200e6 })
  const results = await Promise.all([slow, small].map(async (bytes) => await pool.prepare(bytes, wanted)))
  expect(results[0]).toMatchObject({
    ok: false,
    failure: { code: 'decoder-out-of-memory', message: expect.stringMatching(/took \d+ MB; .* 200 MB$/) },
  })
  expect(results[1]).toMatchObject({ ok: true })
  expect(pool.deathCount).toBe(1)
})

test('a signal ends the wait for an image under way and for those behind it', async () => {
  const [pool, stop] = [await openPool(), new AbortController()]
  const [processId] = pool.processIds
  const under = [slow, small].map(async (bytes) => await pool.prepare(bytes, wanted, stop.signal))
  await wait(100)
  stop.abort(new Error('stopped'))
  for (const one of under) await expect(one).rejects.toThrow('stopped')
  await untilGone(processId ?? 0)
  expect(await pool.prepare(small, wanted)).toMatchObject({ ok: true })
})

describe('the end', () => {
  test('of the pool is that of its processes, also of one that is frozen', async () => {
    const pool = await openPool()
    const processId = await strike(pool, 'SIGSTOP')
    await pool.close()
    await untilGone(processId)
    await expect(pool.prepare(small, wanted)).rejects.toThrow('closed')
  })

  const child = fileURLToPath(new URL('../helpers/decoder-child.ts', import.meta.url))
  const start = async (...args: string[]) => {
    const parent = spawn(process.execPath, [child, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [output] = (await once(parent.stdout, 'data')) as [Buffer] // stdout gives buffers
    return { parent, processId: Number(output.toString()) }
  }

  test('of a parent by force is that of a decoder in the middle of its work', async () => {
    const { parent, processId } = await start('busy')
    expect(isRunning(processId)).toBe(true)
    parent.kill('SIGKILL')
    await untilGone(processId)
  })

  test('of a parent is not held up by decoders that rest', async () => {
    const { parent, processId } = await start()
    await once(parent, 'exit')
    await untilGone(processId)
  })
})
