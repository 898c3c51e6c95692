// Compiles in a process of its own, for tests that kill it or measure it: CHECKPOINT OUT WEIGHTS [slow].
// Prints a line when the first weight is written, and the peak of its memory in MB at the end.
import { readFileSync } from 'node:fs'
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
// The kernel's own mark: maxRSS also counts what the parent held at the fork.
const mark =
  process.platform === 'linux'
    ? /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    : undefined
console.log(`peak ${Math.round(Number(mark ?? process.resourceUsage().maxRSS) / 1024)}`)
