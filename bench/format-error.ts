// What each storage format costs in accuracy: logits of one checkpoint in int8 and int4 against fp32, on the same tokens.
//   node bench/format-error.ts CHECKPOINT [--formats int8,int4] [--sequences 4] [--tokens 64]
// Prints a JSON line a format: largest and mean logit error, share of greedy tokens changed (teacher-forced on the fp32
// model's own greedy continuation), and the load and size of each.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { causalMask, openDecoder } from '../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../gpu-worker/engine/decoder.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import { emptyRows } from '../gpu-worker/engine/kv-cache.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import type { Prefix } from '../gpu-worker/engine/generation.ts'
import { largestIndex, seededRandom } from '../gpu-worker/engine/sampler.ts'
import { compileModel } from '../gpu-worker/model/compile.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { WeightFormat } from '../schemas/model-manifest.ts'

/** One image and a run of text tokens behind it; the last `scored` rows are compared. */
type Sample = { pixels: Float32Array; tokenIds: number[]; scored: number }

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    formats: { type: 'string', default: 'int8,int4' },
    sequences: { type: 'string', default: '4' },
    tokens: { type: 'string', default: '64' },
  },
})
const [checkpointFolder] = positionals
if (checkpointFolder === undefined) throw new Error('usage: node bench/format-error.ts CHECKPOINT')

const folder = await mkdtemp(join(tmpdir(), 'coglabel-formats-'))
try {
  const reference = await openFormat('fp32')
  const samples = await makeSamples(reference, Number(values.sequences), Number(values.tokens))
  const expected = await scoreAll(reference, samples)
  await reference.close()
  for (const format of values.formats.split(',').map((name) => WeightFormat.parse(name))) {
    const decoder = await openFormat(format)
    console.log(
      JSON.stringify({
        checkpoint: checkpointFolder,
        format,
        kernel: decoder.kernel.name,
        ...compare(expected, await scoreAll(decoder, samples)),
      }),
    )
    await decoder.close()
  }
} finally {
  await rm(folder, { recursive: true })
}

async function openFormat(weights: WeightFormat): Promise<Decoder> {
  const outFolder = join(folder, weights)
  await compileModel({ checkpointFolder: checkpointFolder ?? '', outFolder, weights })
  return openDecoder(await openCompiledModel(outFolder))
}

/** Noise images and random prompts of 16 tokens, continued greedily by the fp32 model. */
async function makeSamples(decoder: Decoder, count: number, tokenCount: number): Promise<Sample[]> {
  const { vision, language } = decoder.compiled.manifest
  const random = seededRandom(7)
  const bos = await textPrefix(decoder)
  const samples: Sample[] = []
  for (let index = 0; index < count; index++) {
    const pixels = Float32Array.from({ length: 3 * vision.imageSize ** 2 }, () => random() * 3.6 - 1.8)
    const prompt = Array.from({ length: 16 }, () => Math.floor(random() * language.vocabSize))
    const prefix = await imagePrefix(decoder, bos, pixels)
    const request = { tokenIds: prompt, maxNewTokens: tokenCount, sampling: greedySampling, stopIds: [] }
    const [result] = await generate(decoder, prefix, { requests: [request] })
    samples.push({
      pixels,
      tokenIds: [...prompt, ...(result?.tokenIds.slice(0, -1) ?? [])],
      scored: tokenCount,
    })
  }
  return samples
}

/** Logits [scored, V] of each sample. */
async function scoreAll(decoder: Decoder, samples: readonly Sample[]): Promise<Float32Array[]> {
  const bos = await textPrefix(decoder)
  const scores: Float32Array[] = []
  for (const sample of samples)
    scores.push(await score(decoder, await imagePrefix(decoder, bos, sample.pixels), sample))
  return scores
}

async function score(decoder: Decoder, prefix: Prefix, { tokenIds, scored }: Sample): Promise<Float32Array> {
  const { logits } = await decoder.run({
    visionRows: new Float32Array(0),
    embeddedRows: new Float32Array(0),
    tokenIds,
    positionIds: tokenIds.map((_, index) => prefix.nextPosition + index),
    logitRows: tokenIds.map((_, index) => index).slice(-scored),
    prefix: prefix.rows,
    suffix: emptyRows(decoder.shape),
    mask: causalMask(prefix.rows.length, tokenIds.length),
  })
  return logits
}

function compare(expected: readonly Float32Array[], seen: readonly Float32Array[]): Record<string, number> {
  let [largest, sum, count, changed, rows, spread] = [0, 0, 0, 0, 0, 0]
  for (const [index, logits] of expected.entries()) {
    const other = seen[index] ?? logits
    const vocabularySize = logits.length / Number(values.tokens)
    for (const [position, value] of logits.entries()) {
      const error = Math.abs(value - (other[position] ?? 0))
      largest = Math.max(largest, error)
      sum += error
      spread += value * value
      count += 1
    }
    for (let row = 0; row < Number(values.tokens); row++) {
      const own = (all: Float32Array): number =>
        largestIndex(all.subarray(row * vocabularySize, (row + 1) * vocabularySize))
      changed += own(logits) === own(other) ? 0 : 1
      rows += 1
    }
  }
  const round = (value: number): number => Number(value.toPrecision(4))
  return {
    maxLogitError: round(largest),
    meanLogitError: round(sum / count),
    logitRms: round(Math.sqrt(spread / count)),
    greedyChanged: round(changed / rows),
    rows,
  }
}
