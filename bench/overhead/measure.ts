// One measure in a process of its own: prepares a loop, runs it, prints one JSON line of what it took.
//   node [--import ./bench/overhead/without-pixels.ts] bench/overhead/measure.ts '{"loop":"label", …}'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configureDecoder } from '../../gpu-worker/image/decode.ts'
import { prepareEmulated } from './emulated.ts'
import { prepareLabel } from './label.ts'
import { type Prepared, Wanted } from './run.ts'
import { prepareWorker } from './worker.ts'

/** Images of a run before the one that is measured: by then the code is compiled. Uploading to the emulator is slow. */
const warmUpImages = { folders: 2000, emulator: 250 }

configureDecoder({ threads: 1 })
const wanted = Wanted.parse(JSON.parse(process.argv[2] ?? ''))
const folder = await mkdtemp(join(tmpdir(), 'coglabel-overhead-'))
try {
  const warmUp = await prepare({ ...wanted, images: warmUpImages[wanted.ports] }, join(folder, 'warm-up'))
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
