// Memory of the engine at each stage, and how long loading takes: after load, the tower, the prefill of one image and
// some decode steps. Run it twice: the first start writes the packed weights beside the model, the second maps them.
//   node bench/memory.ts MODEL [--kv int8] [--tokens 16]
// Prints a JSON line a stage: anonymous and file-backed memory now, the most so far, and the bytes of each component.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { prefixRowBytes } from '../gpu-worker/engine/cache-budget.ts'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import { seededRandom } from '../gpu-worker/engine/sampler.ts'
import { CacheFormat } from '../schemas/model-manifest.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { rounded } from './engine/samples.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { kv: { type: 'string', default: 'fp32' }, tokens: { type: 'string', default: '16' } },
})
let lastMs = performance.now()
const compiled = await openCompiledModel(positionals[0] ?? '')
const decoder = await openDecoder(compiled, { cacheFormat: CacheFormat.parse(values.kv) })
const { manifest } = compiled
const bytesOf = (name: string): number => manifest.files.find((file) => file.name === name)?.bytes ?? 0
tell('load', {
  towerWeightsMb: bytesOf('vision.weights') / 1e6,
  decoderWeightsMb: bytesOf('decoder.weights') / 1e6,
  imageCacheMb: ((manifest.vision.patchRows + 3) * prefixRowBytes(decoder.shape, decoder.cacheFormat)) / 1e6,
})
const random = seededRandom(7)
const pixels = Float32Array.from({ length: 3 * manifest.vision.imageSize ** 2 }, () => random() * 3.6 - 1.8)
const features = Float32Array.from(await decoder.encodeImage(pixels))
tell('tower')
const given = { ...decoder, encodeImage: () => Promise.resolve(features) }
const prefix = await imagePrefix(given, await textPrefix(decoder), pixels)
tell('prefill')
const tokens = Number(values.tokens)
const request = {
  tokenIds: Array.from({ length: 20 }, (_, index) => 5 + index),
  maxNewTokens: tokens,
  sampling: greedySampling,
  stopIds: [],
}
await generate(decoder, prefix, { requests: [request] })
tell('decode', { tokens })
await decoder.close()

function tell(stage: string, more: Record<string, number> = {}): void {
  const status = readFileSync('/proc/self/status', 'utf8')
  const megabytes = (name: string): number =>
    Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 1000
  const numbers = {
    ms: performance.now() - lastMs,
    anonMb: megabytes('RssAnon'),
    fileMb: megabytes('RssFile'),
    peakMb: megabytes('VmHWM'),
    ...more,
  }
  const round = Object.entries(numbers).map(([name, value]) => [name, rounded(value)])
  console.log(JSON.stringify({ model: manifest.name, stage, ...Object.fromEntries(round) }))
  lastMs = performance.now()
}
