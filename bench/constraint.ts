// What holding answers to a form costs: time of a step with and without, on the shipped model and on the vocabulary of
// LLaMA-3, and how often an answer differs.
//   node bench/constraint.ts [--rounds 5]
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openEngineForModel } from '../cli/open-model.ts'
import type { PromptRequest } from '../gpu-worker/engine/contract.ts'
import { largestAllowed, openConstrainer } from '../gpu-worker/engine/constraint.ts'
import { largestIndex } from '../gpu-worker/engine/sampler.ts'
import { decodeImage } from '../gpu-worker/image/decode.ts'
import { preprocess } from '../gpu-worker/image/preprocess.ts'
import { openTokenizer } from '../gpu-worker/tokenizer/tokenizer.ts'
import { type Constraint, patternOf } from '../schemas/constraint.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { writeLlama3Json } from '../tests/tokenizer/real-files.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } })
const rounds = Number(values.rounds)

const prompts: readonly (readonly [string, Constraint])[] = [
  ['Describe the image with boxes.', { kind: 'boxes', text: 'around' }],
  ['Where is the dog? Give its box.', { kind: 'boxes', text: 'absence' }],
  ['Is there a dog?', { kind: 'yes-no' }],
]

await measureShipped()
await measureLlama3()

/** Rounds with and without in turn, so that what else the machine does falls on both. */
async function measureShipped(): Promise<void> {
  const engine = await openEngineForModel({
    modelFolder: fileURLToPath(new URL('../models/scenes-v2', import.meta.url)),
  })
  const folder = new URL('../examples/images/', import.meta.url)
  const spent = { free: 0, held: 0 }
  let [tokens, differing, asked] = [0, 0, 0]
  for (const name of await readdir(folder)) {
    const decoded = await decodeImage(await readFile(new URL(name, folder)))
    if (!decoded.ok) throw new Error(decoded.failure.message)
    const session = await engine.openImage(preprocess({ ...decoded.image, ...engine.info.image }))
    for (let round = 0; round <= rounds; round += 1) {
      const said: string[][] = []
      for (const kind of ['free', 'held'] as const) {
        const requests = prompts.map(([question, constraint]): PromptRequest => ({
          template: 'chat',
          history: [],
          question,
          maxNewTokens: 160,
          sampling: greedySampling,
          constraint: kind === 'held' ? constraint : undefined,
        }))
        const startMs = performance.now()
        const answers = await session.generate(requests)
        // The first round compiles patterns and fills masks.
        if (round > 0) spent[kind] += performance.now() - startMs
        if (round > 0 && kind === 'held')
          tokens += answers.reduce((sum, { usage }) => sum + usage.outputTokens, 0)
        said.push(answers.map(({ text }) => text))
      }
      if (round > 0) continue
      asked += prompts.length
      differing += said[0]?.filter((text, index) => text !== said[1]?.[index]).length ?? 0
    }
    await session.close()
  }
  await engine.close()
  const costPercent = Math.round((spent.held / spent.free - 1) * 1000) / 10
  console.log(JSON.stringify({ model: 'scenes-v2', ...spent, tokens, costPercent, asked, differing }))
}

/** The mask alone: a vocabulary of 128,256 with logits of noise. */
async function measureLlama3(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'coglabel-constraint-'))
  await writeLlama3Json(folder)
  const tokenizer = await openTokenizer({ folder, kind: 'tokenizer-json' })
  await rm(folder, { recursive: true })
  const logits = Float32Array.from({ length: tokenizer.vocabSize }, (_, id) => Math.sin(id))
  const constrainer = openConstrainer(tokenizer)
  const argmaxMs = time(() => largestIndex(logits), 50)
  for (const [, constraint] of prompts) {
    const pattern = patternOf(constraint)
    const startMs = performance.now()
    const follower = constrainer.follow(pattern)
    largestAllowed(logits, follower, [128_009])
    const firstMs = round2(performance.now() - startMs)
    const knownMs = time(() => largestAllowed(logits, follower, [128_009]), 50)
    console.log(
      JSON.stringify({ vocabulary: tokenizer.vocabSize, form: constraint, firstMs, knownMs, argmaxMs }),
    )
  }
}

function time(job: () => unknown, count: number): number {
  const startMs = performance.now()
  for (let turn = 0; turn < count; turn += 1) job()
  return round2((performance.now() - startMs) / count)
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}
