// Where a run's time goes, by operator: the runtime's own times of each node, summed.
//   node bench/profile.ts MODEL [--what tower,prefill,decode] [--prompts 1,8] [--top 14] [--nodes]
// A step's new keys and values are copied by the binding after the last node, which is no node's time: compare with
// the wall time printed beside. `--nodes` sums by node instead, layers together.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import { noisePixels, randomPrompts } from './engine/workload.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    what: { type: 'string', default: 'tower,prefill,decode' },
    prompts: { type: 'string', default: '1,8' },
    top: { type: 'string', default: '14' },
    nodes: { type: 'boolean', default: false },
  },
})
const [modelFolder = ''] = positionals
const compiled = await openCompiledModel(modelFolder)

const Event = z.object({
  cat: z.string(),
  name: z.string(),
  dur: z.number(),
  ts: z.number(),
  args: z.object({ op_name: z.string().optional() }).loose().optional(),
})

const scratch = await mkdtemp(join(tmpdir(), 'coglabel-profile-'))
try {
  for (const what of values.what.split(',')) {
    const counts = what === 'decode' ? values.prompts.split(',').map(Number) : [0]
    for (const count of counts) await profile(what, count)
  }
} finally {
  await rm(scratch, { recursive: true })
}

async function profile(what: string, count: number): Promise<void> {
  const decoder = await openDecoder(compiled, { profilePrefix: join(scratch, `${what}${count}`) })
  const { imageSize } = compiled.manifest.vision
  const pixels = noisePixels(imageSize)
  const features = Float32Array.from(await decoder.encodeImage(pixels))
  const bos = await textPrefix(decoder)
  const given = { ...decoder, encodeImage: () => Promise.resolve(features) }
  const prefix = await imagePrefix(given, bos, pixels)
  // Another start of the runtime's own clock cannot be asked for: what ran before is cut off by the number of runs.
  const wallMs = await once(what, async () => {
    if (what === 'tower') return void (await decoder.encodeImage(pixels))
    if (what === 'prefill') return void (await imagePrefix(given, bos, pixels))
    const { vocabSize } = compiled.manifest.language
    await generate(decoder, prefix, {
      requests: randomPrompts({ count, promptTokens: 40, steps: 19, vocabSize }),
    })
  })
  await decoder.close()
  const graph = what === 'tower' ? 'vision' : 'decoder'
  const file = (await readdir(scratch)).find((name) => name.startsWith(`${what}${count}-${graph}`))
  const events = z.array(Event).parse(JSON.parse(await readFile(join(scratch, file ?? ''), 'utf8')))
  report(`${what} ${count === 0 ? '' : `x${count}`}`, { events, runs: what === 'decode' ? 18 : 1, wallMs })
}

async function once(what: string, job: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await job()
  return (performance.now() - startMs) / (what === 'decode' ? 19 : 1)
}

/** Sums the nodes of the last `runs` runs. */
function report(
  title: string,
  { events, runs, wallMs }: { events: z.infer<typeof Event>[]; runs: number; wallMs: number },
): void {
  const ends = events.filter(({ cat, name }) => cat === 'Session' && name === 'model_run')
  const from = ends.at(-runs)?.ts ?? 0
  const sums = new Map<string, { ms: number; count: number }>()
  let total = 0
  for (const { cat, name, dur, ts, args } of events) {
    if (cat !== 'Node' || ts < from || !name.endsWith('_kernel_time')) continue
    const path = name.replace(/_kernel_time$/, '').replace(/\b(layers|tower)\.\d+/, '$1')
    const key = values.nodes ? `${args?.op_name} ${path}` : (args?.op_name ?? name)
    const sum = sums.get(key) ?? { ms: 0, count: 0 }
    sums.set(key, { ms: sum.ms + dur / 1000 / runs, count: sum.count + 1 / runs })
    total += dur / 1000 / runs
  }
  console.log(`${title}: ${wallMs.toFixed(1)} ms by the wall, ${total.toFixed(1)} ms in nodes`)
  const rows = [...sums].toSorted(([, a], [, b]) => b.ms - a.ms).slice(0, Number(values.top))
  for (const [key, { ms, count }] of rows)
    console.log(
      `  ${ms.toFixed(2).padStart(9)} ms ${((ms / total) * 100).toFixed(1).padStart(5)} %  x${count.toFixed(0).padStart(5)}  ${key}`,
    )
}
