// Memory of the engine at each stage, and how long loading takes: after load, the tower, the prefill of one image and
// some decode steps. Run it twice: the first start writes the packed weights beside the model, the second maps them.
//   node bench/memory.ts MODEL [--kv int8] [--tokens 16] [--images 1] [--low-memory] [--roofline]
// Prints a JSON line a stage: anonymous and file-backed memory now, the most of both during the stage, and the bytes of
// each component; for decode also the bytes that a step reads, and with --roofline the share of the bandwidth of float32
// products that this makes.
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { prefixRowBytes } from '../gpu-worker/engine/cache-budget.ts'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import { CacheFormat } from '../schemas/model-manifest.ts'
import { measureRoofline } from './engine/kernels.ts'
import { forgetPeak, memoryMb } from './engine/process-memory.ts'
import { stepWeightBytes } from './engine/products.ts'
import { median, rounded } from './engine/samples.ts'
import { noisePixels, randomPrompts, timeSteps } from './engine/workload.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'kv': { type: 'string', default: 'fp32' },
    'tokens': { type: 'string', default: '16' },
    'images': { type: 'string', default: '1' },
    'low-memory': { type: 'boolean', default: false },
    'roofline': { type: 'boolean', default: false },
  },
})
let lastMs = performance.now()
const compiled = await openCompiledModel(positionals[0] ?? '')
const options = { cacheFormat: CacheFormat.parse(values.kv), lowMemory: values['low-memory'] }
const decoder = await openDecoder(compiled, options)
const { manifest } = compiled
const imageBytes = (manifest.vision.patchRows + 3) * prefixRowBytes(decoder.shape, decoder.cacheFormat)
const bytesOf = (name: string): number => manifest.files.find((file) => file.name === name)?.bytes ?? 0
tell('load', {
  towerWeightsMb: bytesOf('vision.weights') / 1e6,
  decoderWeightsMb: bytesOf('decoder.weights') / 1e6,
  stepWeightsMb: stepWeightBytes(manifest) / 1e6,
  imageCacheMb: imageBytes / 1e6,
})
const pixels = noisePixels(manifest.vision.imageSize)
const bos = await textPrefix(decoder)
tell('bos')
let stepMs = 0
for (let image = 0; image < Number(values.images); image++) await runImage()
await decoder.close()
tell('close')
if (values.roofline) {
  const bytesPerSecond = await measureRoofline(5)
  const ofRoofline = (stepWeightBytes(manifest) + imageBytes) / (stepMs / 1000) / bytesPerSecond
  tell('roofline', { gigabytesPerSecond: bytesPerSecond / 1e9, ofRoofline })
}

async function runImage(): Promise<void> {
  const features = Float32Array.from(await decoder.encodeImage(pixels))
  tell('tower')
  const given = { ...decoder, encodeImage: () => Promise.resolve(features) }
  const prefix = await imagePrefix(given, bos, pixels)
  tell('prefill')
  const { timed, steps } = timeSteps(decoder, 1)
  const tokens = Number(values.tokens)
  const { vocabSize } = manifest.language
  await generate(timed, prefix, {
    requests: randomPrompts({ count: 1, promptTokens: 20, steps: tokens, vocabSize }),
  })
  stepMs = median(steps())
  tell('decode', { tokens, stepMs, tokensPerSecond: 1000 / stepMs })
}

function tell(stage: string, more: Record<string, number> = {}): void {
  const numbers = {
    ms: performance.now() - lastMs,
    anonMb: memoryMb('RssAnon'),
    fileMb: memoryMb('RssFile'),
    peakMb: memoryMb('VmHWM'),
    ...more,
    load: loadavg()[0] ?? 0,
  }
  const round = Object.entries(numbers).map(([name, value]) => [name, rounded(value)])
  console.log(JSON.stringify({ model: manifest.name, stage, ...Object.fromEntries(round) }))
  forgetPeak()
  lastMs = performance.now()
}
