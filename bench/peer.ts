// This engine beside llama.cpp on the same weights and machine: both are measured in turns, a sample of each a round.
//   node bench/random-checkpoint.ts S CK && npx coglabel compile CK MODEL && node bench/peer/cogvlm-gguf.ts CK GGUF
//   node bench/peer.ts --llama DIR --gguf GGUF --model MODEL [--type q8_0] [--tower f16] [--rounds 5] [--samples FILE]
// DIR has llama-mtmd-cli and llama-batched-bench of a native build. With --samples, samples are added to a file and the
// table is of all that are there, so that rounds may be run apart. Of each column llama.cpp gets the better of flash
// attention on and off.
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
  const image = await measureImage(one, { flash, imagePath })
  const ms: Record<string, number> = { tower: image.towerMs, prefill: image.prefillMs }
  const steps = await measureSteps(one, { flash, counts, depth, tokens })
  for (const [count, stepMs] of steps) ms[`step of ${count}`] = stepMs
  const answers = tokens * (steps.get(tasks) ?? NaN)
  ms[`image, ${tasks} x ${tokens}`] = image.towerMs + image.prefillMs + answers
  return ms
}

/** Medians; the ratio is llama.cpp's better time by ours, so above 1 this engine is faster. */
function printTable(): void {
  const middle = (engine: Sample['engine'], column: string): number =>
    median(samples.flatMap((one) => (one.engine === engine ? [one.ms[column] ?? NaN] : [])))
  const cell = (text: string | number, width: number): string =>
    (typeof text === 'number' ? text.toFixed(text < 10 ? 2 : 1) : text).padStart(width)
  const columns = Object.keys(samples[0]?.ms ?? {})
  console.log(
    `${'ms'.padEnd(16)}${['ours', 'fa on', 'fa off', 'ratio'].map((name) => cell(name, 10)).join('')}`,
  )
  for (const column of columns) {
    const [ours, on, off] = [
      middle('ours', column),
      middle('llama.cpp fa on', column),
      middle('llama.cpp fa off', column),
    ]
    const numbers = [ours, on, off, Math.min(on, off) / ours].map((number) => cell(number, 10))
    console.log(`${column.padEnd(16)}${numbers.join('')}`)
  }
}
