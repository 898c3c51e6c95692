// The shipped checkpoint against its own trainer: prompts and greedy answers written by training/export.py (PyTorch,
// float32 compute on the exported weights) and what our compiled graph says to the same pictures.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import { preprocess } from '../../gpu-worker/image/preprocess.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { openTokenizer } from '../../gpu-worker/tokenizer/tokenizer.ts'
import { greedySampling } from '../../schemas/sampling.ts'

type TrainerAnswer = {
  image: string
  prompt: string
  promptIds: number[]
  answerIds: number[]
  answer: string
}

const checkpointFolder = fileURLToPath(new URL('../../models/scenes-v2', import.meta.url))
const goldenFolder = new URL('../../training/golden/', import.meta.url)
const answers = JSON.parse(readFileSync(new URL('answers.json', goldenFolder), 'utf8')) as TrainerAnswer[]
const images = [...new Set(answers.map(({ image }) => image))]

describe('the shipped model answers as its trainer does', () => {
  const folder = mkdtempSync(join(tmpdir(), 'coglabel-shipped-'))
  let decoder: Decoder

  beforeAll(async () => {
    await compileModel({ checkpointFolder, outFolder: join(folder, 'model'), weights: 'fp32' })
    decoder = await openDecoder(await openCompiledModel(join(folder, 'model')))
  })
  afterAll(async () => {
    await decoder.close()
    rmSync(folder, { recursive: true })
  })

  it('and tokenizes as its trainer does', async () => {
    const tokenizer = await openTokenizer({ folder: checkpointFolder, kind: 'sentencepiece' })
    for (const { prompt, promptIds, answerIds, answer } of answers) {
      expect(tokenizer.encode(prompt)).toEqual(promptIds)
      expect(tokenizer.decode(answerIds).trim()).toBe(answer)
    }
  })

  it.each(images)('%s: every answer token is equal', async (image) => {
    const { imageSize: size, mean, std } = decoder.compiled.manifest.vision
    const decoded = await decodeImage(readFileSync(new URL(image, goldenFolder)))
    if (!decoded.ok) throw new Error(decoded.failure.message)
    const pixels = preprocess({ ...decoded.image, size, mean, std })
    const prefix = await imagePrefix(decoder, await textPrefix(decoder), pixels)
    const asked = answers.filter((answer) => answer.image === image)
    const results = await generate(decoder, prefix, {
      requests: asked.map(({ promptIds }) => ({
        tokenIds: promptIds,
        maxNewTokens: 160,
        sampling: greedySampling,
        stopIds: decoder.compiled.manifest.tokens.eos,
      })),
    })
    expect(results.map(({ tokenIds }) => tokenIds)).toEqual(asked.map(({ answerIds }) => answerIds))
  })
})
