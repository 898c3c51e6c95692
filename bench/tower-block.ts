// What a tower takes in memory above its weights, and how long: for CogVLM2's 9,217 positions.
//   node bench/compile-random.ts TOWER2 MODEL && node bench/tower-block.ts MODEL [--runs 3]
// Prints a JSON line: resident memory after loading, the most of it during the runs less that, milliseconds of the middle
// run.
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import { forgetPeak, memoryMb } from './engine/process-memory.ts'
import { median, rounded } from './engine/samples.ts'
import { noisePixels } from './engine/workload.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '3' } },
})
const compiled = await openCompiledModel(positionals[0] ?? '')
const decoder = await openDecoder(compiled)
const { imageSize } = compiled.manifest.vision
const pixels = noisePixels(imageSize)
forgetPeak()
const loadedMb = memoryMb('VmRSS')
const times: number[] = []
for (let run = 0; run < Number(values.runs); run++) {
  const startMs = performance.now()
  await decoder.encodeImage(pixels)
  times.push(performance.now() - startMs)
}
const numbers = {
  loadedMb,
  aboveMb: memoryMb('VmHWM') - loadedMb,
  ms: median(times),
  load: loadavg()[0] ?? 0,
}
const round = Object.entries(numbers).map(([name, value]) => [name, rounded(value)])
console.log(JSON.stringify({ model: compiled.manifest.name, imageSize, ...Object.fromEntries(round) }))
await decoder.close()
