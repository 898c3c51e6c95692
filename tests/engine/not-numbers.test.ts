// One sequence whose scores stop being numbers while it is generated: it fails, and those beside it say what they say
// alone. The model's embedding of one token is damaged on disk, so that the runtime itself carries the NaN about.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBatch } from '../../gpu-worker/engine/batch.ts'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import type { Prefix, SequenceRequest } from '../../gpu-worker/engine/sequence.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import {
  configOf,
  randomTensors,
  seededUniform,
  smallShape,
  writeCheckpoint,
} from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-not-numbers-'))
afterAll(() => rmSync(scratch, { recursive: true }))

/** A vocabulary so small that an answer is soon at any token. */
const shape = { ...smallShape, vocab: 131 }
const folder = join(scratch, 'model')
const tensors = randomTensors(shape, 1)

const request = (tokenIds: number[], maxNewTokens: number): SequenceRequest => ({
  tokenIds,
  maxNewTokens,
  sampling: greedySampling,
  stopIds: [],
})

const uniform = seededUniform(5)
const prompts = Array.from({ length: 6 }, (_, index) =>
  Array.from({ length: 4 + 3 * index }, () => 3 + Math.floor(uniform() * 120)),
)
const lengths = [24, 30, 9, 24, 16, 24]
const requests = prompts.map((tokenIds, index) => request(tokenIds, lengths[index] ?? 9))

async function answersAlone(decoder: Decoder, prefix: Prefix): Promise<number[][]> {
  const answers: number[][] = []
  for (const one of requests)
    answers.push((await generate(decoder, prefix, { requests: [one] }))[0]?.tokenIds ?? [])
  return answers
}

/** Makes an embedding NaN where the compiled model has it. */
function damage(token: number): void {
  const embedding = tensors.get('model.embed_tokens.weight')
  const row = embedding?.data.slice(token * shape.hidden, (token + 1) * shape.hidden)
  if (row === undefined) throw new Error('the checkpoint has no embedding')
  const path = join(folder, 'decoder.weights')
  const weights = readFileSync(path)
  const at = weights.indexOf(Buffer.from(row.buffer))
  if (at === -1) throw new Error('the compiled model has another embedding')
  for (let index = 0; index < shape.hidden; index++) weights.writeFloatLE(NaN, at + 4 * index)
  writeFileSync(path, weights)
}

describe('a token whose embedding is no number', () => {
  let whole: number[][]
  let token: number
  let decoder: Decoder
  let image: Prefix
  let text: Prefix

  beforeAll(async () => {
    writeCheckpoint(join(scratch, 'checkpoint'), { config: configOf(shape), tensors })
    await compileModel({ checkpointFolder: join(scratch, 'checkpoint'), outFolder: folder, weights: 'fp32' })
    const compiled = await openCompiledModel(folder)
    const sound = await openDecoder(compiled)
    whole = await answersAlone(sound, await imageOf(sound))
    await sound.close()
    // One that some answers come to late, and others never, nor their prompts.
    const others = (candidate: number) =>
      whole.filter((answer, index) => ![...answer, ...(prompts[index] ?? [])].includes(candidate)).length
    const late = (candidate: number) => whole.some((answer) => answer.indexOf(candidate) >= 3)
    token = Array.from({ length: 120 }, (_, index) => index + 3).find(
      (candidate) => late(candidate) && others(candidate) >= 2,
    )!
    damage(token)
    decoder = await openDecoder(compiled)
    image = await imageOf(decoder)
    text = await textPrefix(decoder)
  })

  const isSpoiled = (index: number) =>
    prompts[index]?.includes(token) === true || whole[index]?.slice(0, -1).includes(token) === true

  it('fails the sequences that come to it, and no other', async () => {
    const results = await generate(decoder, image, { requests })
    expect(results.filter((_, index) => isSpoiled(index)).length).toBeGreaterThan(0)
    for (const [index, { tokenIds, failure }] of results.entries()) {
      const answer = whole[index] ?? []
      const upTo = prompts[index]?.includes(token) === true ? 0 : answer.indexOf(token) + 1
      expect(tokenIds).toEqual(isSpoiled(index) ? answer.slice(0, upTo) : answer)
      expect(failure?.message ?? '').toMatch(isSpoiled(index) ? /scores are not numbers/ : /^$/)
    }
  })

  it('in a prompt that takes several steps spoils neither other images nor what comes later', async () => {
    const batch = createBatch(decoder, { limitBytes: Infinity, rowBytes: 1, longestRows: 0 })
    const sound = requests.filter((_, index) => !isSpoiled(index))
    const said = whole.filter((_, index) => !isSpoiled(index))
    const long = request([token, ...Array.from({ length: 600 }, (_, index) => 3 + (index % 100))], 4)
    const [beside, bad] = await Promise.all([
      batch.generate(image, sound),
      batch.generate(image, [long]),
      batch.generate(text, [request([token], 4)]),
    ])
    expect(bad).toMatchObject([{ tokenIds: [], failure: { code: 'engine-error' } }])
    expect(beside.map(({ tokenIds }) => tokenIds)).toEqual(said)
    expect((await batch.generate(image, sound)).map(({ tokenIds }) => tokenIds)).toEqual(said)
    await batch.idle()
  })
})

async function imageOf(decoder: Decoder): Promise<Prefix> {
  const { imageSize } = decoder.compiled.manifest.vision
  const uniform = seededUniform(1)
  const pixels = Float32Array.from({ length: 3 * imageSize ** 2 }, () => 4 * uniform() - 2)
  return await imagePrefix(decoder, await textPrefix(decoder), pixels)
}
