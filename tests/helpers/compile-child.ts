// Compiles in a process of its own, for tests that kill it or measure it: CHECKPOINT OUT WEIGHTS [slow].
// Prints a line when the first weight is written, and the peak of its memory in MB at the end.
import { setTimeout as wait } from 'node:timers/promises'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { WeightFormat } from '../../schemas/model-manifest.ts'

const [checkpointFolder = '', outFolder = '', weights, slow] = process.argv.slice(2)
let started = false
await compileModel({
  checkpointFolder,
  outFolder,
  weights: WeightFormat.parse(weights),
  onProgress: () => {
    if (!started) console.log('started')
    started = true
    // A pause that blocks, so that there is time to be killed in the middle.
    if (slow === 'slow') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
  },
})
await wait(0)
console.log(`peak ${Math.round(process.resourceUsage().maxRSS / 1024)}`)
