// Images a second through the engine process with several images under way: reading and decoding each image, in decoder
// processes or in this one (`decoded-here`), and with its tensor made beforehand, in turns. The first is to be at least 95 % of the second: then decoding hides behind
// the model. Another way asks about one image at a time, to see what sharing steps brings.
//   node bench/batching.ts MODEL IMAGES [--images 200] [--runs 5] [--kv int8]
//     [--ways decoded,decoded-here,beforehand,one-by-one]
// Prints a JSON line a run and a table of medians.
import { readdir, readFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { PromptRequest } from '../gpu-worker/engine/contract.ts'
import { openEngineHost } from '../gpu-worker/engine/host.ts'
import { configureDecoder, defaultDecodeLimits as limits } from '../gpu-worker/image/decode.ts'
import { openDecoderPool } from '../gpu-worker/image/decoder-pool.ts'
import { decodeHere, type ImageDecoder } from '../gpu-worker/image/prepare.ts'
import { limitConcurrency } from '../gpu-worker/pipeline/concurrency.ts'
import { defaultRunLimits } from '../gpu-worker/pipeline/run.ts'
import { CacheFormat } from '../schemas/model-manifest.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { median, rounded } from './engine/samples.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    images: { type: 'string', default: '200' },
    runs: { type: 'string', default: '5' },
    kv: { type: 'string', default: 'fp32' },
    ways: { type: 'string', default: 'decoded,decoded-here,beforehand,one-by-one' },
  },
})
const [modelFolder = '', imageFolder = ''] = positionals
const questions = ['Describe the image with boxes.', 'Describe the image.', 'How many objects are there?']

const engine = await openEngineHost({ modelFolder, cacheFormat: CacheFormat.parse(values.kv) })
configureDecoder({ threads: 1 })
const pool = openDecoderPool()
const names = (await readdir(imageFolder)).toSorted().slice(0, Number(values.images))
const tensors = new Map<string, Float32Array>()
for (const name of names) tensors.set(name, await readTensor(name, pool))
const rates = new Map<string, number[]>()
for (let run = 0; run <= Number(values.runs); run++) {
  for (const way of values.ways.split(',')) {
    const seconds = await labelAll(way)
    // The first of each warms up.
    if (run === 0) continue
    const imagesPerSecond = names.length / seconds
    rates.set(way, [...(rates.get(way) ?? []), imagesPerSecond])
    console.log(JSON.stringify({ way, imagesPerSecond: rounded(imagesPerSecond), load: loadavg()[0] }))
  }
}
await Promise.all([engine.close(), pool.close()])
const most = median(rates.get('beforehand') ?? [])
for (const [way, samples] of rates)
  console.log(
    `${way.padEnd(12)} ${median(samples).toFixed(2).padStart(8)} images/s  ${((median(samples) / most) * 100).toFixed(1)} %`,
  )

async function labelAll(way: string): Promise<number> {
  const alone = way === 'one-by-one'
  const inFlight = limitConcurrency(alone ? 1 : defaultRunLimits.imagesInFlight)
  const inEngine = limitConcurrency(alone ? 1 : defaultRunLimits.imagesInEngine)
  const startMs = performance.now()
  await Promise.all(
    names.map((name) =>
      inFlight(async () => {
        const pixels = way.startsWith('decoded')
          ? await readTensor(name, way === 'decoded' ? pool : decodeHere)
          : (tensors.get(name) ?? null)
        await inEngine(async () => {
          const session = await engine.openImage(pixels)
          await session.generate(questions.map(promptOf))
          await session.close()
        })
      }),
    ),
  )
  return (performance.now() - startMs) / 1000
}

function promptOf(question: string): PromptRequest {
  return {
    template: engine.info.template,
    history: [],
    question,
    maxNewTokens: 128,
    sampling: greedySampling,
  }
}

async function readTensor(name: string, decoder: ImageDecoder): Promise<Float32Array> {
  const wanted = { limits, form: engine.info.image }
  const result = await decoder.prepare(await readFile(join(imageFolder, name)), wanted)
  if (!result.ok) throw new Error(`${name}: ${result.failure.message}`)
  const { shown } = result.prepared
  if (shown instanceof Float32Array) return shown
  throw new Error(`${name}: no tensor was made`)
}
