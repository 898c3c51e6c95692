// The emulator as a process of its own, so that what it costs is not counted with what is measured. It does not know
// what is measured.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { z } from 'zod'

const Connection = z.object({
  endpoint: z.string(),
  region: z.string(),
  credentials: z.object({ accessKeyId: z.string(), secretAccessKey: z.string() }),
  queueUrl: z.string(),
})

/** It has the buckets `photos` and `labels` and one queue. */
export async function startEmulatorProcess(): Promise<{
  connection: z.infer<typeof Connection>
  close: () => Promise<void>
}> {
  const script = new URL('../../tests/helpers/emulator-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })
  const line = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve)
    child.once('exit', (code) => reject(new Error(`the emulator ended with ${code}`)))
  })
  return {
    connection: Connection.parse(JSON.parse(line)),
    async close() {
      child.stdin.end()
      await ended
    },
  }
}
