// Entry of a decoder process: prepares one image at a time for the pool that started it. It ends when the pool goes away,
// and before anything else of the machine when memory is short.
import { writeFile } from 'node:fs/promises'
import { configureDecoder } from './decode.ts'
import type { DecoderArguments, DecoderReply, DecoderRequest } from './decoder-protocol.ts'
import { prepareImage } from './prepare.ts'

/** How often a decode under way is looked at. */
const lookMs = 50

configureDecoder({ threads: 1 })
// Our own pool wrote it.
const { memoryBytes } = JSON.parse(process.argv[2] ?? '{}') as DecoderArguments
// Of Linux: who is killed first when there is no memory left. Elsewhere there is no such file.
await writeFile('/proc/self/oom_score_adj', '1000').catch(() => {})

process.on('disconnect', endNow)
process.on('message', (request: DecoderRequest) => void serve(request))
tell({ kind: 'ready' })

async function serve({ id, bytes, wanted }: DecoderRequest): Promise<void> {
  const watch = setInterval(() => {
    const residentBytes = process.memoryUsage.rss()
    if (residentBytes <= memoryBytes) return
    clearInterval(watch)
    tell({ kind: 'too-much-memory', residentBytes })
    // The pool ends this process when it hears that; if it does not, this does.
    setTimeout(endNow, 1000)
  }, lookMs)
  try {
    const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    tell({ kind: 'prepared', id, result: await prepareImage(file, wanted) })
  } catch (error) {
    tell({ kind: 'failed', id, message: error instanceof Error ? (error.stack ?? error.message) : 'unknown' })
  } finally {
    clearInterval(watch)
  }
}

function tell(reply: DecoderReply): void {
  // A send that fails means that the pool is gone.
  process.send?.(reply, undefined, undefined, () => undefined)
}

/** An exit would wait for the decode that is under way. */
function endNow(): void {
  process.kill(process.pid, 'SIGKILL')
}
