// Speed of the CPU engine on a compiled model of random weights: each figure beside the bound it is held against,
// measured in the same run.
//   node bench/random-checkpoint.ts S /tmp/checkpoint-s && npx coglabel compile /tmp/checkpoint-s /tmp/model-s
//   node bench/engine.ts /tmp/model-s [--only roofline,tower,prefill,gemms,decode] [--runs 5] [--prompts 1,8,16]
// Prints a JSON line a figure, then a table of the ratios. Prefill is that of one image behind bos, tower not included;
// its products are timed alone, one graph each. Decode is of 64 new tokens behind prompts of 40, so that the middle
// step has a depth of about 1,300 at 1,227 image rows. Bytes of a step: weights that it reads, and keys and values.
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../gpu-worker/engine/decoder-contract.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import type { Prefix } from '../gpu-worker/engine/sequence.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import { measureProduct, measureRoofline } from './engine/kernels.ts'
import { memoryMb } from './engine/process-memory.ts'
import { decoderProducts, stepWeightBytes, towerProducts } from './engine/products.ts'
import type { CountedProduct } from './engine/products.ts'
import { median, rounded, sampleMs } from './engine/samples.ts'
import { noisePixels, randomPrompts, timeSteps } from './engine/workload.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: 'roofline,tower,prefill,gemms,decode' },
    runs: { type: 'string', default: '5' },
    prompts: { type: 'string', default: '1,8,16' },
    tokens: { type: 'string', default: '64' },
  },
})
const [modelFolder] = positionals
if (modelFolder === undefined) throw new Error('usage: node bench/engine.ts MODEL')
const runs = Number(values.runs)
const wanted = new Set(values.only.split(','))
const figures = new Map<string, number>()

const compiled = await openCompiledModel(modelFolder)
const { manifest } = compiled
if (wanted.has('roofline')) tell('roofline', { bytesPerSecond: await measureRoofline(runs) })
const decoder = await openDecoder(compiled)
tell('loaded', { peakRssMb: memoryMb('VmHWM') })
const pixels = noisePixels(manifest.vision.imageSize)
const features = Float32Array.from(await decoder.encodeImage(pixels))
// The tower's share is measured apart, so the prefill is given what it made.
const prefiller: Decoder = { ...decoder, encodeImage: () => Promise.resolve(features) }
const bos = await textPrefix(decoder)
if (wanted.has('tower'))
  tell('tower', { ms: median(await sampleMs(runs, () => decoder.encodeImage(pixels))) })
if (wanted.has('prefill'))
  tell('prefill', { ms: median(await sampleMs(runs, () => imagePrefix(prefiller, bos, pixels))) })
if (wanted.has('gemms')) {
  tell('tower-gemms', { ms: await measureAll(towerProducts(manifest)) })
  tell('prefill-gemms', { ms: await measureAll(decoderProducts(manifest)) })
}
if (wanted.has('decode')) {
  const prefix = await imagePrefix(prefiller, bos, pixels)
  for (const count of values.prompts.split(',').map(Number)) await measureDecode(prefix, count)
}
tell('end', { peakRssMb: memoryMb('VmHWM') })
await decoder.close()
printRatios()

function tell(figure: string, numbers: Record<string, number>): void {
  const round = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, rounded(value)]))
  for (const [name, value] of Object.entries(round)) figures.set(`${figure}.${name}`, value)
  const load = rounded(loadavg()[0] ?? 0)
  console.log(JSON.stringify({ model: manifest.name, weights: manifest.weights, figure, ...round, load }))
}

async function measureAll(products: readonly CountedProduct[]): Promise<number> {
  let total = 0
  for (const { count, ...product } of products) total += count * (await measureProduct(product, runs))
  return total
}

/** All prompts of one image together; a step is the time from one run's start to the next, so it holds everything. */
async function measureDecode(prefix: Prefix, count: number): Promise<void> {
  const { timed, steps } = timeSteps(decoder, count)
  const { layerCount, kvHeadCount, headDim, vocabSize } = manifest.language
  const [promptTokens, newTokens] = [40, Number(values.tokens)]
  await generate(timed, prefix, {
    requests: randomPrompts({ count, promptTokens, steps: newTokens, vocabSize }),
  })
  const stepMs = median(steps())
  const suffixRows = count * (promptTokens + newTokens / 2)
  const cacheBytes = (prefix.rows.length + suffixRows) * layerCount * kvHeadCount * headDim * 2 * 4
  const bytes = stepWeightBytes(manifest) + cacheBytes
  const roofline = figures.get('roofline.bytesPerSecond')
  tell(`decode-${count}`, {
    stepMs,
    tokensPerSecond: (count / stepMs) * 1000,
    bytesPerStep: bytes,
    ...(roofline === undefined ? {} : { ofRoofline: bytes / (stepMs / 1000) / roofline }),
  })
}

function printRatios(): void {
  const ratio = (a: string, b: string): number | undefined => {
    const [first, second] = [figures.get(a), figures.get(b)]
    return first === undefined || second === undefined ? undefined : first / second
  }
  const rows: [string, number | undefined, string][] = [
    ['prefill / its products', ratio('prefill.ms', 'prefill-gemms.ms'), '<= 2'],
    ['tower / its products', ratio('tower.ms', 'tower-gemms.ms'), ''],
    ['one sequence of the roofline', figures.get('decode-1.ofRoofline'), '>= 0.65'],
    ['8 prompts / one', ratio('decode-8.tokensPerSecond', 'decode-1.tokensPerSecond'), '>= 5'],
    ['16 prompts / one', ratio('decode-16.tokensPerSecond', 'decode-1.tokensPerSecond'), '>= 8'],
  ]
  for (const [name, value, aim] of rows)
    if (value !== undefined) console.log(`${name.padEnd(32)} ${value.toFixed(2).padStart(6)}   ${aim}`)
}
