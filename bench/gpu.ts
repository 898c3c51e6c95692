// Speed of a compiled model on a GPU, what crosses the bus for it, and whether its answers are the CPU's.
//   node bench/random-checkpoint.ts S /tmp/checkpoint-s
//   npx coglabel compile /tmp/checkpoint-s /tmp/model-s --target webgpu
//   node bench/gpu.ts /tmp/model-s [--device webgpu] [--runs 5] [--prompts 1,3,8,16] [--tokens 32]
//     [--check 16] [--against MODEL]
// Prints a JSON line a figure, then a table. The first run of each kind is told apart: the runtime compiles its shaders for
// each new shape. Bytes are those of the tensors that runs were really given from host memory and returned to it, and of
// those that stayed on the device. `--check` compares answers of so many tokens with those of the CPU, which runs MODEL or
// another compiled from the same checkpoint (`--against`, fp32 say).
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../gpu-worker/engine/decoder-contract.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import type { Prefix } from '../gpu-worker/engine/sequence.ts'
import { openSession, type Traffic } from '../gpu-worker/engine/session.ts'
import { GraphBuilder } from '../gpu-worker/model/graph.ts'
import { encodeModel } from '../gpu-worker/model/onnx.ts'
import { Target } from '../schemas/model-manifest.ts'
import { median, rounded } from './engine/samples.ts'
import { noisePixels, randomPrompts, timeSteps } from './engine/workload.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'webgpu' },
    runs: { type: 'string', default: '5' },
    prompts: { type: 'string', default: '1,3,8,16' },
    tokens: { type: 'string', default: '32' },
    check: { type: 'string', default: '0' },
    against: { type: 'string' },
  },
})
const [modelFolder] = positionals
if (modelFolder === undefined) throw new Error('usage: node bench/gpu.ts MODEL')
const device = Target.parse(values.device)
const [runs, newTokens, checkedTokens] = [values.runs, values.tokens, values.check].map(Number)
const promptTokens = 40
const taskCount = 3
const rows: string[][] = [['', 'first ms', 'ms', 'a second', 'bytes there', 'bytes back', 'bytes that stay']]

/** What crossed since it was last asked. */
let traffic: Traffic = { fed: 0, fetched: 0, held: 0 }

const compiled = await openCompiledModel(modelFolder)
const { manifest } = compiled
tell('fallback', { refused: Number(await refusesFallback()) })
const openedMs = performance.now()
const decoder = await openDecoder(compiled, {
  device,
  onTraffic: (_, { fed, fetched, held }) => {
    traffic = { fed: traffic.fed + fed, fetched: traffic.fetched + fetched, held: traffic.held + held }
  },
})
tell('opened', { ms: performance.now() - openedMs })
const pixels = noisePixels(manifest.vision.imageSize)
const bos = await textPrefix(decoder)
await measure('tower', () => decoder.encodeImage(pixels))
const features = Float32Array.from(await decoder.encodeImage(pixels))
// The tower's share is measured apart, so the prefill is given what it made.
const prefiller: Decoder = { ...decoder, encodeImage: () => Promise.resolve(features) }
await measure('prefill', async () => free(await imagePrefix(prefiller, bos, pixels)))
const prefix = await imagePrefix(prefiller, bos, pixels)
for (const count of values.prompts.split(',').map(Number)) await measureSteps(count)
await measure(`image, ${taskCount} x ${newTokens}`, async () => {
  const own = await imagePrefix(decoder, bos, pixels)
  await generate(decoder, own, { requests: prompts(taskCount) })
  free(own)
})
if ((checkedTokens ?? 0) > 0) await compareWithCpu()
free(prefix)
free(bos)
await decoder.close()
for (const row of rows)
  console.log(row.map((cell, at) => cell[at === 0 ? 'padEnd' : 'padStart'](16)).join(''))

function tell(figure: string, numbers: Record<string, number>): void {
  const round = Object.fromEntries(
    Object.entries(numbers).map(([name, value]) => [name, Number.isInteger(value) ? value : rounded(value)]),
  )
  const load = rounded(loadavg()[0] ?? 0)
  console.log(
    JSON.stringify({ model: manifest.name, weights: manifest.weights, device, figure, ...round, load }),
  )
}

/** Bytes that crossed are told of the last run. */
function tellRuns(
  figure: string,
  { firstMs, ms, each = 1 }: { firstMs: number; ms: number; each?: number },
): void {
  const perSecond = (each / ms) * 1000
  tell(figure, { firstMs, ms, perSecond, ...traffic })
  const cells = [firstMs, ms, perSecond].map((value) => value.toFixed(1))
  rows.push([figure, ...cells, ...[traffic.fed, traffic.fetched, traffic.held].map(String)])
}

async function measure(figure: string, job: () => Promise<unknown>): Promise<void> {
  const samples: number[] = []
  for (let run = 0; run <= (runs ?? 0); run++) {
    traffic = { fed: 0, fetched: 0, held: 0 }
    const startMs = performance.now()
    await job()
    samples.push(performance.now() - startMs)
  }
  const [firstMs = 0, ...others] = samples
  tellRuns(figure, { firstMs, ms: median(others) })
}

/** All prompts of one image together, twice, since each step of the first time has shapes that were never seen. */
async function measureSteps(count: number): Promise<void> {
  const watched: Decoder = {
    ...decoder,
    run: (step) => {
      traffic = { fed: 0, fetched: 0, held: 0 }
      return decoder.run(step)
    },
  }
  const firstMs = await medianStep(watched, count)
  const ms = await medianStep(watched, count)
  tellRuns(`step of ${count}`, { firstMs, ms, each: count })
}

async function medianStep(watched: Decoder, count: number): Promise<number> {
  const { timed, steps } = timeSteps(watched, count)
  await generate(timed, prefix, { requests: prompts(count) })
  return median(steps())
}

function prompts(count: number, steps = newTokens ?? 0): ReturnType<typeof randomPrompts> {
  return randomPrompts({ count, promptTokens, steps, vocabSize: manifest.language.vocabSize })
}

function free(made: Prefix): void {
  decoder.freePrefix(made.rows)
}

/** Whether a node that the device has no kernel for is refused and not run by the CPU in silence. */
async function refusesFallback(): Promise<boolean> {
  const builder = new GraphBuilder('fallback')
  builder.output('y', builder.op('Hardmax', [builder.input('x', 'float32', [1, 4])]), [1, 4])
  const bytes = encodeModel(builder.graph, new Map())
  const opened = await openSession({ graph: { bytes, weightsFolder: modelFolder ?? '' }, device }).catch(
    () => null,
  )
  await opened?.close()
  return opened === null
}

/** Answers of the CPU to the same image and prompts, and how far the numbers behind the image are from its. */
async function compareWithCpu(): Promise<void> {
  const requests = prompts(8, (checkedTokens ?? 1) - 1)
  const own = await imagePrefix(decoder, bos, pixels)
  const answers = await generate(decoder, own, { requests })
  free(own)
  const cpu = await openDecoder(await openCompiledModel(values.against ?? compiled.folder))
  const theirs = await imagePrefix(cpu, await textPrefix(cpu), pixels)
  const expected = await generate(cpu, theirs, { requests })
  await cpu.close()
  const shared = answers.map(({ tokenIds }, index) => {
    const others = expected[index]?.tokenIds ?? []
    const at = tokenIds.findIndex((token, position) => token !== others[position])
    return (at === -1 ? tokenIds.length : at) / tokenIds.length
  })
  tell('check', {
    answers: answers.length,
    equalAnswers: shared.filter((share) => share === 1).length,
    tokensBeforeDifference: shared.reduce((sum, share) => sum + share, 0) / shared.length,
    logitError: relativeError(own.lastLogits, theirs.lastLogits),
  })
}

/** Root mean square of the differences, in that of the numbers themselves. */
function relativeError(seen: Float32Array, expected: Float32Array): number {
  const norm = (numbers: Float32Array): number => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0))
  return norm(seen.map((value, index) => value - (expected[index] ?? 0))) / norm(expected)
}
