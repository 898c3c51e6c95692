// Opens an engine host on MODEL, prints the number of its engine process, and stays: for tests that end it.
import { openEngineHost } from '../../gpu-worker/engine/host.ts'

const host = await openEngineHost({ modelFolder: process.argv[2] ?? '', threads: 1 }).catch(
  (error: unknown) => {
    console.log(error instanceof Error ? error.name : 'unknown')
  },
)
if (host !== undefined) console.log(host.processId)
