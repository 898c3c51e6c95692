// The cloud worker's process as it is, but with an engine that needs no model: for signals and servers of the real kind.
// Usage, with the worker's environment: node worker-child.ts DELAY_MS (of each image after the self-test)
import { processWorkerRoot, runWorkerProcess } from '../../gpu-worker/worker.ts'
import { openCountingEngine } from './counting-engine.ts'

const slow = openCountingEngine({ delayMs: Number(process.argv[2] ?? 0) })
const quick = openCountingEngine()
process.exitCode = await runWorkerProcess({
  ...processWorkerRoot(),
  openEngine: async () => ({
    ...slow,
    openImage: async (...args) => await (quick.counts.images === 0 ? quick : slow).openImage(...args),
  }),
})
