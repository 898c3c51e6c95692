// The worker of `coglabel dev`: the cloud worker's process, which ends with its parent. It knows no more than that one.
import { pathToFileURL } from 'node:url'
import type { Engine } from '../../gpu-worker/engine/contract.ts'
import { openEngineHost } from '../../gpu-worker/engine/host.ts'
import { processWorkerRoot, runWorkerProcess } from '../../gpu-worker/worker.ts'

/** Runs a worker in this process to its end; returns the exit code. */
export async function runDevWorker(openEngine: (modelFolder: string) => Promise<Engine>): Promise<number> {
  // A parent that was killed says nothing more, and its emulator is gone.
  process.stdin.on('end', () => process.exit(1)).resume()
  const code = await runWorkerProcess({ ...processWorkerRoot(), openEngine })
  process.stdin.destroy()
  return code
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await runDevWorker(async (modelFolder) => await openEngineHost({ modelFolder }))
}
