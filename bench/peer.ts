// This engine beside llama.cpp on the same weights and machine: both are measured in turns, a sample of each a round.
//   node bench/random-checkpoint.ts S CK && npx coglabel compile CK MODEL && node bench/peer/cogvlm-gguf.ts CK GGUF
//   node bench/peer.ts --llama DIR --gguf GGUF --model MODEL [--type q8_0] [--tower f16] [--rounds 5] [--samples FILE]
// DIR has llama-mtmd-cli and llama-batched-bench of a native build. With --samples, samples are added to a file and the
// table is of all that are there, so that rounds may be run apart. Of each column llama.cpp gets the better of flash
// attention on and off; --on image,1,3 --off 8,16 measures each only where a first round had it ahead.
//
// Compared are the tower with its adapter, the image's prefill (1,227 rows at S), steps of 1, 3, 8 and 16 prompts behind
// one image at a depth of about 1,300, and a whole image. llama.cpp's benchmark of steps knows no image: all its
// sequences share a text prompt of that length (-pps -kvu), which costs a step the same. The whole image is tower,
// prefill and 64 tokens of 3 prompts; the prompts' own prefill is in our time and left out of llama.cpp's.
import { appendFile, readFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { median, rounded } from './engine/samples.ts'
import { measureImage, measureSteps } from './peer/llama.ts'
import type { FlashAttention, LlamaModel } from './peer/llama.ts'
import { openOurs, promptTokens } from './peer/ours.ts'
import type { Ours } from './peer/ours.ts'

const imagePath = fileURLToPath(new URL('../examples/images/owl.png', import.meta.url))
const counts = [1, 3, 8, 16]
const [tasks, tokens] = [3, 64]
/** bos, boi, patches and eoi of shape S, and the prompt. */
const depth = 1228 + promptTokens

const Sample = z.strictObject({
  engine: z.enum(['ours', 'llama.cpp fa on', 'llama.cpp fa off']),
  weights: z.string(),
  /** Milliseconds by column. */
  ms: z.record(z.string(), z.number()),
  load: z.number(),
})
type Sample = z.infer<typeof Sample>

const { values } = parseArgs({
  options: {
    llama: { type: 'string' },
    gguf: { type: 'string' },
    model: { type: 'string' },
    type: { type: 'string', default: 'q8_0' },
    tower: { type: 'string', default: 'f16' },
    rounds: { type: 'string', default: '5' },
    samples: { type: 'string' },
    on: { type: 'string', default: 'image,1,3,8,16' },
    off: { type: 'string', default: 'image,1,3,8,16' },
  },
})
const { llama, gguf, model } = values
if (llama === undefined || gguf === undefined || model === undefined)
  throw new Error('usage: node bench/peer.ts --llama DIR --gguf DIR --model DIR')
const peer: LlamaModel = {
  programs: llama,
  text: join(gguf, `text-${values.type}.gguf`),
  tower: join(gguf, `tower-${values.tower}.gguf`),
  threads: 2,
}
const samples = values.samples === undefined ? [] : await readSamples(values.samples)
const rounds = Number(values.rounds)
if (rounds > 0) {
  const ours = await openOurs(model)
  for (let round = 0; round < rounds; round++) {
    await keep('ours', values.model ?? '', await sampleOurs(ours))
    for (const flash of ['on', 'off'] as const)
      await keep(
        `llama.cpp fa ${flash}`,
        `${values.type}, tower ${values.tower}`,
        await samplePeer(peer, flash),
      )
  }
  await ours.close()
}
printTable()

async function readSamples(path: string): Promise<Sample[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.split('\n').flatMap((line) => (line === '' ? [] : [Sample.parse(JSON.parse(line))]))
}

async function keep(engine: Sample['engine'], weights: string, ms: Record<string, number>): Promise<void> {
  const round = Object.fromEntries(Object.entries(ms).map(([name, value]) => [name, rounded(value)]))
  const sample = { engine, weights, ms: round, load: rounded(loadavg()[0] ?? 0) }
  samples.push(sample)
  console.log(JSON.stringify(sample))
  if (values.samples !== undefined) await appendFile(values.samples, `${JSON.stringify(sample)}\n`)
}

async function sampleOurs(ours: Ours): Promise<Record<string, number>> {
  const image = await ours.measureImage()
  const ms: Record<string, number> = { tower: image.towerMs, prefill: image.prefillMs }
  for (const count of counts) ms[`step of ${count}`] = await ours.measureStep(count, tokens)
  ms[`image, ${tasks} x ${tokens}`] = await ours.measureWhole(tasks, tokens)
  return ms
}

async function samplePeer(one: LlamaModel, flash: FlashAttention): Promise<Record<string, number>> {
  const wanted = new Set(values[flash].split(','))
  const ms: Record<string, number> = {}
  if (wanted.has('image')) {
    const { towerMs, prefillMs } = await measureImage(one, { flash, imagePath })
    Object.assign(ms, { tower: towerMs, prefill: prefillMs })
  }
  const own = counts.filter((count) => wanted.has(String(count)))
  const steps = await measureSteps(one, { flash, counts: own, depth, tokens })
  for (const [count, stepMs] of steps) ms[`step of ${count}`] = stepMs
  return ms
}

/** Medians; the ratio is llama.cpp's better time by ours, so above 1 this engine is faster. */
function printTable(): void {
  const middle = (engine: Sample['engine'], column: string): number =>
    median(samples.flatMap((one) => (one.engine === engine ? (one.ms[column] ?? []) : [])))
  const whole = `image, ${tasks} x ${tokens}`
  const best = (column: string): number => {
    const both = [middle('llama.cpp fa on', column), middle('llama.cpp fa off', column)]
    return Math.min(...both.filter((ms) => ms > 0))
  }
  const peerWhole = best('tower') + best('prefill') + tokens * best(`step of ${tasks}`)
  const cell = (value: number): string => value.toFixed(value < 10 ? 2 : 0).padStart(10)
  console.log(`${'ms'.padEnd(16)}      ours llama.cpp     ratio`)
  for (const column of Object.keys(samples[0]?.ms ?? {})) {
    const [ours, theirs] = [middle('ours', column), column === whole ? peerWhole : best(column)]
    console.log(`${column.padEnd(16)}${[ours, theirs, theirs / ours].map(cell).join('')}`)
  }
}
