// One measure in a process of its own: prepares a loop, runs it, prints one JSON line of what it took.
//   node [--import ./bench/overhead/without-pixels.ts] bench/overhead/measure.ts '{"loop":"label", …}'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configureDecoder } from '../../gpu-worker/image/decode.ts'
import { openDecoderPool } from '../../gpu-worker/image/decoder-pool.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'
import { prepareEmulated } from './emulated.ts'
import { prepareLabel } from './label.ts'
import { type Prepared, Wanted } from './run.ts'
import { prepareWorker } from './worker.ts'

/** Images of a run before the one that is measured: by then the code is compiled. Uploading to the emulator is slow. */
const warmUpImages = { folders: 2000, emulator: 250 }

configureDecoder({ threads: 1 })
const wanted = Wanted.parse(JSON.parse(process.argv[2] ?? ''))
const pool = openDecoderPool()
const decoder = wanted.decoder === 'pool' ? pool : decodeHere
const folder = await mkdtemp(join(tmpdir(), 'coglabel-overhead-'))
try {
  const warmUp = await prepare({ ...wanted, images: warmUpImages[wanted.ports] }, join(folder, 'warm-up'))
  await warmUp.run()
  await warmUp.close()
  const prepared = await prepare(wanted, join(folder, 'measured'))
  console.log(JSON.stringify({ ...wanted, ...(await measure(prepared)) }))
  await prepared.close()
} finally {
  await pool.close()
  await rm(folder, { recursive: true, force: true })
}

async function prepare(wish: Wanted, at: string): Promise<Prepared> {
  const place = { folder: at, decoder }
  if (wish.ports === 'emulator') return await prepareEmulated(wish, place)
  return wish.loop === 'label' ? await prepareLabel(wish, place) : await prepareWorker(wish, place)
}

async function measure({ run }: Prepared): Promise<object> {
  let peakBytes = 0
  const look = () => {
    peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
  }
  const timer = setInterval(look, 50)
  const [startMs, cpu, decoderMs] = [performance.now(), process.cpuUsage(), await decoderCpuMs()]
  const { records, endMs } = await run()
  const [wallMs, { user, system }] = [endMs - startMs, process.cpuUsage(cpu)]
  look()
  clearInterval(timer)
  return {
    records,
    wallMs,
    userCpuMs: user / 1000,
    systemCpuMs: system / 1000,
    decoderCpuMs: (await decoderCpuMs()) - decoderMs,
    peakRssMb: peakBytes / 1e6,
  }
}

/** What the decoder processes have used so far: fields 14 and 15 of Linux's /proc/PID/stat, in ticks of 10 ms. */
async function decoderCpuMs(): Promise<number> {
  const lines = await Promise.all(
    pool.processIds.map(async (id) => await readFile(`/proc/${id}/stat`, 'latin1').catch(() => '')),
  )
  const ticks = lines.map((line) => {
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
    return Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
  })
  return ticks.reduce((sum, own) => sum + own, 0) * 10
}
