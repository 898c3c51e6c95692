// What the pipeline costs beside the model: images a second of the local loop and of the cloud worker's, with an
// engine that only counts and images of about 10 kB. Each measure is a process of its own (bench/overhead/measure.ts).
//   node bench/pipeline-overhead.ts [--images 1000,10000,100000] [--loops label,worker-25,worker-1]
//     [--pixels left-out,decoded] [--decoders pool,here] [--ports folders,emulator] [--emulated-images 1000]
//     [--tasks caption] [--repeats 1]
// Prints a JSON line a measure and then a table of medians. `left-out` runs everything but decoding, resizing and the
// perceptual hash of the image, which is work on pixels; `decoded` runs all. `pool` sends each image to a decoder process
// and back, as the roots do; `here` decodes in the loop's own. CPU time is of all threads and decoders: on a busy machine
// it says what the wall clock cannot. A worker of `worker-25` gets 25 images a message, one of `worker-1` an
// event of S3 for each image. Code is compiled and the disk warm: 2,000 images run before those that are measured.
import { execFile } from 'node:child_process'
import { loadavg } from 'node:os'
import { parseArgs, promisify } from 'node:util'
import { z } from 'zod'

const Measured = z.object({
  loop: z.string(),
  ports: z.string(),
  images: z.number(),
  records: z.number(),
  wallMs: z.number(),
  userCpuMs: z.number(),
  systemCpuMs: z.number(),
  decoderCpuMs: z.number(),
  peakRssMb: z.number(),
})
type Measured = z.infer<typeof Measured> & { pixels: string; decoder: string; load: number }

const { values } = parseArgs({
  options: {
    'images': { type: 'string', default: '1000,10000,100000' },
    'loops': { type: 'string', default: 'label,worker-25,worker-1' },
    'pixels': { type: 'string', default: 'left-out,decoded' },
    'decoders': { type: 'string', default: 'pool' },
    'ports': { type: 'string', default: 'folders,emulator' },
    // The emulator keeps everything in memory, and uploading to it is slow.
    'emulated-images': { type: 'string', default: '1000' },
    'tasks': { type: 'string', default: 'caption' },
    'repeats': { type: 'string', default: '1' },
  },
})

const measured: Measured[] = []
for (const ports of listOf(values.ports)) {
  // The local loop has no queue, so there is nothing to emulate.
  const loops = listOf(values.loops).filter((loop) => ports === 'folders' || loop !== 'label')
  const counts = listOf(ports === 'folders' ? values.images : values['emulated-images']).map(Number)
  for (const pixels of listOf(values.pixels))
    for (const decoder of listOf(values.decoders))
      for (const images of counts)
        for (const loop of loops) await repeatMeasure({ ports, pixels, decoder, images, loop })
}
const medians = [...Map.groupBy(measured, nameOf).values()].map(medianOf)
console.log(renderTable(medians))
for (const line of pixelShares(medians)) console.log(line)

type Wish = { ports: string; pixels: string; decoder: string; images: number; loop: string }

async function repeatMeasure(wish: Wish): Promise<void> {
  for (let repeat = 0; repeat < Number(values.repeats); repeat += 1) measured.push(await measure(wish))
}

async function measure({ pixels, ...wish }: Wish): Promise<Measured> {
  const at = (name: string) => new URL(`./overhead/${name}`, import.meta.url)
  const preload = pixels === 'left-out' ? ['--import', at('without-pixels.ts').href] : []
  const wanted = JSON.stringify({ ...wish, tasks: listOf(values.tasks) })
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...preload,
    at('measure.ts').pathname,
    wanted,
  ])
  const seen = {
    pixels,
    decoder: wish.decoder,
    ...Measured.parse(JSON.parse(stdout)),
    load: loadavg()[0] ?? 0,
  }
  console.log(JSON.stringify(seen))
  return seen
}

function listOf(text: string): string[] {
  return text.split(',').map((item) => item.trim())
}

function nameOf({ ports, pixels, decoder, loop, images }: Measured): string {
  return [ports, pixels, decoder, loop, images].join(' ')
}

function medianOf(repeats: readonly Measured[]): Measured {
  const sorted = repeats.toSorted((left, right) => left.wallMs - right.wallMs)
  const median = sorted[Math.floor(sorted.length / 2)]
  if (median === undefined) throw new Error('nothing was measured')
  return median
}

function cpuMs({ userCpuMs, systemCpuMs, decoderCpuMs, images }: Measured): number {
  return (userCpuMs + systemCpuMs + decoderCpuMs) / images
}

/** Of the CPU time with pixel work, what goes away without it. */
function pixelShares(rows: readonly Measured[]): string[] {
  return rows
    .filter(({ pixels }) => pixels === 'decoded')
    .flatMap((row) => {
      const bare = rows.find((other) => nameOf(other) === nameOf({ ...row, pixels: 'left-out' }))
      if (bare === undefined) return []
      const percent = Math.round(100 * (1 - cpuMs(bare) / cpuMs(row)))
      return [`${nameOf(row)}: pixel work is ${percent} % of the CPU time`]
    })
}

function renderTable(rows: readonly Measured[]): string {
  const head = [
    'ports',
    'pixels',
    'decoder',
    'loop',
    'images',
    'images/s',
    'us an image',
    'CPU us',
    'peak MB',
    'load',
  ]
  const lines = rows.map((row) => [
    row.ports,
    row.pixels,
    row.decoder,
    row.loop,
    row.images,
    Math.round((row.images * 1000) / row.wallMs),
    Math.round((row.wallMs * 1000) / row.images),
    Math.round(cpuMs(row) * 1000),
    Math.round(row.peakRssMb),
    row.load.toFixed(1),
  ])
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
