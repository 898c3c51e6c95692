// What each storage format costs in accuracy: logits of one checkpoint in int8 and int4 against fp32, on the same tokens.
//   node bench/format-error.ts CHECKPOINT [--formats int8,int4] [--sequences 4] [--tokens 64]
//   node bench/format-error.ts CHECKPOINT --formats fp32 --kv int8      what caching images in bytes costs by itself
//   node bench/format-error.ts CHECKPOINT --images DIR     real images and questions, for a checkpoint with a tokenizer
// Prints a JSON line a format: largest and mean logit error, share of greedy tokens changed (teacher-forced on the fp32
// model's own greedy continuation), and the load and size of each.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { causalMask } from '../gpu-worker/engine/attention-mask.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../gpu-worker/engine/decoder-contract.ts'
import { generate } from '../gpu-worker/engine/generation.ts'
import { emptyRows } from '../gpu-worker/engine/kv-cache.ts'
import { imagePrefix, textPrefix } from '../gpu-worker/engine/prefix.ts'
import type { Prefix } from '../gpu-worker/engine/sequence.ts'
import { largestIndex, seededRandom } from '../gpu-worker/engine/sampler.ts'
import { decodeImage } from '../gpu-worker/image/decode.ts'
import { preprocess } from '../gpu-worker/image/preprocess.ts'
import { renderPrompt } from '../gpu-worker/tokenizer/template.ts'
import { openTokenizer } from '../gpu-worker/tokenizer/tokenizer.ts'
import { compileModel } from '../gpu-worker/model/compile.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { noisePixels } from './engine/workload.ts'
import { CacheFormat, WeightFormat } from '../schemas/model-manifest.ts'

/** One image and a run of text tokens behind it; the last `scored` rows are compared. */
type Sample = { pixels: Float32Array; tokenIds: number[]; scored: number }

const questions = [
  'Describe the image.',
  'Describe the image with boxes.',
  'What is in the image?',
  'How many objects are there?',
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kv: { type: 'string', default: 'fp32' },
    formats: { type: 'string', default: 'int8,int4' },
    sequences: { type: 'string', default: '4' },
    tokens: { type: 'string', default: '64' },
    images: { type: 'string' },
  },
})
const [checkpointFolder] = positionals
if (checkpointFolder === undefined) throw new Error('usage: node bench/format-error.ts CHECKPOINT')

const cacheFormat = CacheFormat.parse(values.kv)
const folder = await mkdtemp(join(tmpdir(), 'coglabel-formats-'))
try {
  const reference = await openFormat('fp32')
  const samples =
    values.images === undefined
      ? await makeNoise(reference, Number(values.sequences), Number(values.tokens))
      : await askAboutImages(reference, values.images)
  const expected = await scoreAll(reference, samples)
  await reference.close()
  for (const format of values.formats.split(',').map((name) => WeightFormat.parse(name))) {
    const decoder = await openFormat(format, cacheFormat)
    console.log(
      JSON.stringify({
        checkpoint: checkpointFolder,
        format,
        cacheFormat,
        kernel: decoder.kernel.name,
        ...compare({ samples, expected, seen: await scoreAll(decoder, samples) }),
      }),
    )
    await decoder.close()
  }
} finally {
  await rm(folder, { recursive: true })
}

async function openFormat(weights: WeightFormat, cacheFormat: CacheFormat = 'fp32'): Promise<Decoder> {
  const outFolder = join(folder, weights)
  await compileModel({ checkpointFolder: checkpointFolder ?? '', outFolder, weights })
  return openDecoder(await openCompiledModel(outFolder), { cacheFormat })
}

/** Noise images and random prompts of 16 tokens, continued greedily by the fp32 model. */
async function makeNoise(decoder: Decoder, count: number, tokenCount: number): Promise<Sample[]> {
  const { vision, language } = decoder.compiled.manifest
  const random = seededRandom(7)
  const bos = await textPrefix(decoder)
  const samples: Sample[] = []
  for (let index = 0; index < count; index++) {
    const pixels = noisePixels(vision.imageSize, random)
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

/** Every image of a folder with four questions, answered greedily by the fp32 model. */
async function askAboutImages(decoder: Decoder, imageFolder: string): Promise<Sample[]> {
  const { manifest } = decoder.compiled
  const { vision, tokens, template } = manifest
  if (manifest.tokenizer === null) throw new Error('this checkpoint has no tokenizer; leave --images out')
  const tokenizer = await openTokenizer({ folder: decoder.compiled.folder, ...manifest.tokenizer })
  const bos = await textPrefix(decoder)
  const samples: Sample[] = []
  for (const name of (await readdir(imageFolder)).toSorted()) {
    const decoded = await decodeImage(await readFile(join(imageFolder, name)))
    if (!decoded.ok) continue
    const pixels = preprocess({
      ...decoded.image,
      size: vision.imageSize,
      mean: vision.mean,
      std: vision.std,
    })
    const prefix = await imagePrefix(decoder, bos, pixels)
    const prompts = questions.map((question) =>
      tokenizer.encode(renderPrompt({ template, history: [], question })),
    )
    const requests = prompts.map((tokenIds) => ({
      tokenIds,
      maxNewTokens: 128,
      sampling: greedySampling,
      stopIds: tokens.eos,
    }))
    const results = await generate(decoder, prefix, { requests })
    for (const [index, { tokenIds }] of results.entries()) {
      // The last prompt row gives the first answer token, and so on; eos is one of the tokens.
      samples.push({
        pixels,
        tokenIds: [...(prompts[index] ?? []), ...tokenIds],
        scored: tokenIds.length + 1,
      })
    }
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
    slots: [{ prefix: prefix.rows, rowCount: tokenIds.length }],
    suffix: emptyRows(decoder.shape),
    mask: causalMask(tokenIds.length),
  })
  return logits
}

function compare({
  samples,
  expected,
  seen,
}: {
  samples: readonly Sample[]
  expected: readonly Float32Array[]
  seen: readonly Float32Array[]
}): Record<string, number> {
  let [largest, sum, count, changed, rows, squares] = [0, 0, 0, 0, 0, 0]
  for (const [index, { scored }] of samples.entries()) {
    const [logits, other] = [expected[index] ?? new Float32Array(0), seen[index] ?? new Float32Array(0)]
    const vocabularySize = logits.length / scored
    for (const [position, value] of logits.entries()) {
      const error = Math.abs(value - (other[position] ?? 0))
      largest = Math.max(largest, error)
      sum += error
      squares += value * value
      count += 1
    }
    for (let row = 0; row < scored; row++) {
      const best = (all: Float32Array): number =>
        largestIndex(all.subarray(row * vocabularySize, (row + 1) * vocabularySize))
      changed += best(logits) === best(other) ? 0 : 1
      rows += 1
    }
  }
  const round = (value: number): number => Number(value.toPrecision(4))
  return {
    maxLogitError: round(largest),
    meanLogitError: round(sum / count),
    logitRms: round(Math.sqrt(squares / count)),
    greedyChanged: round(changed / rows),
    rows,
  }
}
