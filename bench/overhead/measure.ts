// One measure in a process of its own: prepares a loop, runs it, prints one JSON line of what it took.
//   node [--import ./bench/overhead/without-pixels.ts] bench/overhead/measure.ts '{"loop":"label", …}'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { prepareEmulated } from './emulated.ts'
import { prepareLabel } from './label.ts'
import { prepareWorker } from './worker.ts'

const Wanted = z.strictObject({
  loop: z.enum(['label', 'worker-25', 'worker-1']),
  ports: z.enum(['folders', 'emulator']),
  images: z.number().int().positive(),
  tasks: z.array(z.string()),
})
export type Wanted = z.infer<typeof Wanted>

/** A loop that is ready to run: it resolves to the records made durable and to when the last message was done with. */
export type Prepared = { run: () => Promise<{ records: number; endMs: number }>; close: () => Promise<void> }

/** Images of a run before the one that is measured: by then the code is compiled. */
const warmUpImages = 2000

const wanted = Wanted.parse(JSON.parse(process.argv[2] ?? ''))
const folder = await mkdtemp(join(tmpdir(), 'coglabel-overhead-'))
try {
  const warmUp = await prepare({ ...wanted, images: warmUpImages }, join(folder, 'warm-up'))
  await warmUp.run()
  await warmUp.close()
  const prepared = await prepare(wanted, join(folder, 'measured'))
  console.log(JSON.stringify({ ...wanted, ...(await measure(prepared)) }))
  await prepared.close()
} finally {
  await rm(folder, { recursive: true, force: true })
}

async function prepare(wish: Wanted, at: string): Promise<Prepared> {
  if (wish.ports === 'emulator') return await prepareEmulated(wish)
  return wish.loop === 'label' ? await prepareLabel(wish, at) : await prepareWorker(wish, at)
}

async function measure({ run }: Prepared): Promise<object> {
  let peakBytes = 0
  const look = () => {
    peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
  }
  const timer = setInterval(look, 50)
  const [startMs, cpu] = [performance.now(), process.cpuUsage()]
  const { records, endMs } = await run()
  const [wallMs, { user, system }] = [endMs - startMs, process.cpuUsage(cpu)]
  look()
  clearInterval(timer)
  return { records, wallMs, userCpuMs: user / 1000, systemCpuMs: system / 1000, peakRssMb: peakBytes / 1e6 }
}
