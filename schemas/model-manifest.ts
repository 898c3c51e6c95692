// The compiled model's manifest: where the compiler and the engine meet. Written by model/compile, read by engine/.
import { z } from 'zod'

export const PromptTemplate = z.enum(['base', 'chat', 'vqa'])
export type PromptTemplate = z.infer<typeof PromptTemplate>

export const WeightFormat = z.enum(['fp32', 'fp16', 'int8', 'int4'])
export type WeightFormat = z.infer<typeof WeightFormat>

export const Target = z.enum(['cpu', 'cuda', 'webgpu'])
export type Target = z.infer<typeof Target>

/** How a graph takes the cached rows of an image. */
export const CacheFormat = z.enum(['fp32', 'int8'])
export type CacheFormat = z.infer<typeof CacheFormat>

/** Images whose rows may share a step of the decoder on the CPU: as many prefixes are inputs of its graph. */
export const prefixSlots = 4

/** Values of the CPU graph's input `attention_way`; model/attention.ts says what each is for. */
export const attentionWays = { causal: 0, plain: 1, turned: 2, several: 3, tall: 4, severalTall: 5 } as const

const Bytes = z.int().nonnegative()
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const PlainFileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)

/** One file of the compiled folder. */
export const ManifestFile = z.strictObject({ name: PlainFileName, bytes: Bytes, sha256: Sha256 })

/** Of matrices that are multiplied as bytes: stored in 8 bits or 4, inputs in one byte or, split, in two. */
export const IntegerFormat = z.enum(['int8', 'int8-split', 'int4-widened', 'int4-widened-split'])
export type IntegerFormat = z.infer<typeof IntegerFormat>

/** How one large matrix was stored. */
export const QuantizedMatrix = z.strictObject({
  name: z.string().describe('path of the matrix in the graph'),
  format: z.enum([...IntegerFormat.options, 'int4', 'int8-block']),
  inputError: z
    .number()
    .nonnegative()
    .nullable()
    .describe('relative error of one-byte inputs on sampled activations; null where it was not measured'),
})
export type QuantizedMatrix = z.infer<typeof QuantizedMatrix>

export const manifestVersion = 6

export const ModelManifest = z.strictObject({
  v: z.literal(manifestVersion),
  name: z.string().min(1).max(200),
  family: z.enum(['cogvlm', 'cogvlm2']),
  digest: Sha256.describe('of names, sizes and hashes of all files below; identifies the compiled model'),
  licence: z.string().describe('of the weights, as far as the checkpoint says'),
  target: Target,
  weights: WeightFormat,
  template: PromptTemplate.describe('the prompt form this checkpoint was tuned on'),
  capabilities: z.array(z.string()).describe('tasks the checkpoint can do'),
  vision: z.strictObject({
    imageSize: z.int().positive().describe('pixels, both sides'),
    patchRows: z.int().positive().describe('image rows of the decoder, without boi and eoi'),
    hiddenSize: z.int().positive(),
    mean: z.array(z.number()).length(3),
    std: z.array(z.number()).length(3),
  }),
  language: z.strictObject({
    hiddenSize: z.int().positive(),
    layerCount: z.int().positive(),
    headCount: z.int().positive(),
    kvHeadCount: z.int().positive(),
    headDim: z.int().positive(),
    vocabSize: z.int().positive(),
    maxPositions: z.int().positive(),
  }),
  rotary: z.strictObject({
    theta: z.number().positive(),
    mode: z
      .enum(['fp32', 'reference-bf16'])
      .describe('precision in which the cos and sin tables are computed'),
    inverseFrequencies: z
      .array(z.number())
      .describe("[headDim/2]; the checkpoint's own where it stores them"),
  }),
  tokens: z.strictObject({
    bos: z.int().nonnegative(),
    eos: z.array(z.int().nonnegative()).min(1),
    placeholder: z.int().nonnegative(),
  }),
  tokenizer: z
    .strictObject({ kind: z.enum(['sentencepiece', 'tokenizer-json']), file: PlainFileName })
    .nullable()
    .describe('null: the model can be traced with ids but not label'),
  graphs: z.strictObject({
    vision: PlainFileName,
    decoder: PlainFileName,
    decoderInt8Cache: PlainFileName.optional().describe(
      'the same decoder over the same weights, with cached image rows held in bytes',
    ),
    decoderAhead: PlainFileName.optional().describe(
      'the same decoder over the same weights, which can choose several greedy tokens a run',
    ),
    kernelCheck: PlainFileName.optional().describe(
      'one integer product at its worst case, where the model has such products',
    ),
  }),
  trace: z
    .strictObject({
      layers: z.array(z.strictObject({ vision: z.string(), language: z.string() })),
      finalNorm: z.string(),
    })
    .describe('names of values inside the decoder graph that a trace makes outputs of'),
  quantized: z.array(QuantizedMatrix),
  files: z.array(ManifestFile),
  source: z
    .strictObject({ config: z.unknown(), compiler: z.string() })
    .describe('config.json as read, and what compiled it'),
})
export type ModelManifest = z.infer<typeof ModelManifest>

/** The text whose sha256 is a compiled model's digest. */
export function digestText(files: ModelManifest['files']): string {
  return JSON.stringify(files.map(({ name, bytes, sha256 }) => [name, bytes, sha256]))
}

export const manifestFileName = 'manifest.json'

/** What to do about a model without a tokenizer, as the end of a sentence: said by the compiler and by the engine. */
export const tokenizerAdvice =
  'CogVLM (first generation) ships none: fetch tokenizer.model, tokenizer_config.json and special_tokens_map.json ' +
  'of lmsys/vicuna-7b-v1.5 and compile again with --tokenizer FOLDER'
