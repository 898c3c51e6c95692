// What a repetition penalty has seen: as in the reference, the whole input, bos and the image's placeholders included.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { PixelEngine } from '../../gpu-worker/engine/contract.ts'
import { openEngine } from '../../gpu-worker/engine/engine.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import { configOf, randomTensors, smallShape, writeCheckpoint } from '../helpers/random-checkpoint.ts'

const folder = mkdtempSync(join(tmpdir(), 'coglabel-penalty-'))
const [bos, placeholder, vocab] = [7, 5, 320]
let engine: PixelEngine

beforeAll(async () => {
  const shape = { ...smallShape, vocab }
  const tensors = randomTensors(shape, 1)
  // Every token is as likely as any other, so that the penalty alone chooses; below 1 it prefers what was seen.
  const head = tensors.get('lm_head.weight')?.data ?? new Float32Array(0)
  for (let row = 1; row < vocab; row++) head.copyWithin(row * shape.hidden, 0, shape.hidden)
  const config = { ...configOf(shape), bos_token_id: bos, pad_token_id: placeholder }
  writeCheckpoint(join(folder, 'checkpoint'), { config, tensors })
  await compileModel({
    checkpointFolder: join(folder, 'checkpoint'),
    tokenizerFolder: fileURLToPath(new URL('../golden/data/tokenizers/v1-320', import.meta.url)),
    outFolder: join(folder, 'model'),
    weights: 'fp32',
  })
  engine = await openEngine({ modelFolder: join(folder, 'model') })
})
afterAll(async () => {
  await engine.close()
  rmSync(folder, { recursive: true })
})

it.each([
  { behind: 'an image', pixels: new Float32Array(3 * 28 * 28), penalty: 0.5, first: placeholder },
  { behind: 'bos alone', pixels: null, penalty: 0.5, first: bos },
  { behind: 'an image, unpunished,', pixels: new Float32Array(3 * 28 * 28), penalty: 1, first: 0 },
])('the first token behind $behind is $first', async ({ pixels, penalty, first }) => {
  const session = await engine.openImage(pixels)
  const sampling = { ...greedySampling, repetitionPenalty: penalty }
  const prompt = { template: 'base' as const, history: [], question: '', maxNewTokens: 1, sampling }
  expect((await session.generate([prompt])).map(({ tokenIds }) => tokenIds)).toEqual([[first]])
  await session.close()
})
