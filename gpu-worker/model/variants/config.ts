// config.json of the CogVLM family, checked, and what follows from it. Field names are the checkpoint's own at the edge.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import { PromptTemplate } from '../../../schemas/model-manifest.ts'

const Size = z.int().positive().max(1_000_000)

const VisionConfig = z.object({
  image_size: Size,
  patch_size: Size,
  num_positions: Size,
  in_channels: z.literal(3).default(3),
  hidden_size: Size,
  num_heads: Size,
  num_hidden_layers: Size,
  intermediate_size: Size,
  layer_norm_eps: z.number().positive().default(1e-6),
  hidden_act: z.literal('gelu').default('gelu'),
})

const EosIds = z.union([z.int().nonnegative(), z.array(z.int().nonnegative()).min(1)])

/** Defaults are those of the family's configuration class. */
const CogvlmConfig = z.object({
  architectures: z.array(z.string()).min(1),
  vocab_size: Size,
  hidden_size: Size,
  intermediate_size: Size,
  num_hidden_layers: Size,
  num_attention_heads: Size,
  num_multi_query_heads: Size.default(8),
  hidden_act: z.literal('silu').default('silu'),
  max_position_embeddings: Size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  template_version: PromptTemplate.default('chat'),
  bos_token_id: z.int().nonnegative().optional(),
  eos_token_id: EosIds.optional(),
  pad_token_id: z.int().nonnegative().optional(),
  tie_word_embeddings: z.boolean().default(false),
  vision_config: VisionConfig,
  coglabel: z
    .object({ capabilities: z.array(z.string()).optional(), licence: z.string().optional() })
    .loose()
    .optional(),
})

/** One of the two generations: everything the graph needs to know, in our own words. */
export type Variant = {
  family: 'cogvlm' | 'cogvlm2'
  hiddenSize: number
  innerSize: number
  layerCount: number
  headCount: number
  kvHeadCount: number
  headDim: number
  vocabSize: number
  maxPositions: number
  rmsEpsilon: number
  ropeTheta: number
  /** The embedding table where the two are tied, as no released checkpoint has them. */
  headTensor: 'lm_head.weight' | 'model.embed_tokens.weight'
  template: PromptTemplate
  tokens: { bos: number; eos: number[]; placeholder: number }
  tower: {
    imageSize: number
    patchSize: number
    gridSide: number
    positionCount: number
    width: number
    headCount: number
    layerCount: number
    innerSize: number
    epsilon: number
  }
  /** Rows that an image makes in the decoder, without boi and eoi. */
  patchRows: number
  declared: { capabilities: string[] | undefined; licence: string | undefined }
}

/**
 * Reads the configuration of a CogVLM or CogVLM2 checkpoint. The files do not say which of the two they are;
 * the 2x2 convolution after the tower, which only the second has, does.
 * Throws UserError for other architectures and for fields that do not fit together.
 */
export function readVariant(
  config: unknown,
  tensorNames: ReadonlySet<string>,
  generationConfig?: unknown,
): Variant {
  refuseOtherArchitectures(config, tensorNames)
  const parsed = CogvlmConfig.safeParse(withoutNulls(config))
  if (!parsed.success)
    throw new UserError(`config.json is not a CogVLM configuration: ${z.prettifyError(parsed.error)}`)
  const fields = parsed.data
  const second = tensorNames.has('model.vision.conv.weight')
  const headDim = exactQuotient(
    'hidden_size',
    fields.hidden_size,
    'num_attention_heads',
    fields.num_attention_heads,
  )
  if (headDim % 2 !== 0) {
    throw new UserError(
      `config.json has hidden_size ${fields.hidden_size} in ${fields.num_attention_heads} heads of ${headDim}; rotary embedding needs an even size`,
    )
  }
  const kvHeadCount = second ? fields.num_multi_query_heads : fields.num_attention_heads
  exactQuotient('num_attention_heads', fields.num_attention_heads, 'num_multi_query_heads', kvHeadCount)
  return {
    family: second ? 'cogvlm2' : 'cogvlm',
    hiddenSize: fields.hidden_size,
    innerSize: fields.intermediate_size,
    layerCount: fields.num_hidden_layers,
    headCount: fields.num_attention_heads,
    kvHeadCount,
    headDim,
    vocabSize: fields.vocab_size,
    maxPositions: fields.max_position_embeddings,
    rmsEpsilon: fields.rms_norm_eps,
    // Written into the modelling code of each generation, not into config.json.
    ropeTheta: second ? 500_000 : 10_000,
    headTensor: fields.tie_word_embeddings ? 'model.embed_tokens.weight' : 'lm_head.weight',
    template: fields.template_version,
    tokens: readTokens(fields, second, generationConfig),
    ...readTower(fields.vision_config, second),
    declared: { capabilities: fields.coglabel?.capabilities, licence: fields.coglabel?.licence },
  }
}

/** A field that says null is one that says nothing. */
function withoutNulls(config: unknown): unknown {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return config
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null))
}

function refuseOtherArchitectures(config: unknown, tensorNames: ReadonlySet<string>): void {
  const parsed = z
    .object({ architectures: z.array(z.string()).optional(), model_type: z.string().optional() })
    .safeParse(config)
  const names = parsed.data?.architectures ?? []
  const known = names.includes('CogVLMForCausalLM')
  if (names.includes('CogAgentForCausalLM')) {
    throw new UserError(
      'this is a CogAgent checkpoint; its high-resolution cross attention is not supported. Use a CogVLM or CogVLM2 image checkpoint',
    )
  }
  const hasVisionExpert = [...tensorNames].some((name) => name.includes('vision_expert_query_key_value'))
  if (names.includes('CogVLMVideoForCausalLM') || (known && !hasVisionExpert)) {
    throw new UserError(
      'this is a CogVLM2 video or caption checkpoint: it has no visual expert and takes frames. Use an image checkpoint such as cogvlm2-llama3-chat-19B',
    )
  }
  if (!known) {
    const seen = names.join(', ') || parsed.data?.model_type || 'none named'
    throw new UserError(
      `config.json names the architecture ${seen}; CogVLMForCausalLM (CogVLM and CogVLM2) is what is supported`,
    )
  }
}

/**
 * The released code stops where generation_config.json says, and config.json of a fine-tuned model may name fewer: an
 * answer ends at the ids of either.
 */
function readTokens(
  fields: z.infer<typeof CogvlmConfig>,
  second: boolean,
  generationConfig: unknown,
): Variant['tokens'] {
  const bos = fields.bos_token_id ?? (second ? 128_000 : 1)
  const eos = fields.eos_token_id ?? (second ? [128_001, 128_009] : 2)
  const placeholder = fields.pad_token_id ?? (second ? 128_002 : 0)
  const ids = { bos_token_id: bos, pad_token_id: placeholder }
  for (const [name, id] of Object.entries(ids)) {
    if (id >= fields.vocab_size)
      throw new UserError(`config.json has ${name} ${id}, outside the vocabulary of ${fields.vocab_size}`)
  }
  const generation = z.object({ eos_token_id: EosIds }).safeParse(generationConfig)
  const ends = new Set([eos, generation.data?.eos_token_id ?? []].flat())
  return { bos, eos: [...ends], placeholder }
}

function readTower(
  vision: z.infer<typeof VisionConfig>,
  second: boolean,
): Pick<Variant, 'tower' | 'patchRows'> {
  const gridSide = exactQuotient('image_size', vision.image_size, 'patch_size', vision.patch_size)
  const positionCount = gridSide * gridSide + 1
  if (vision.num_positions !== positionCount) {
    throw new UserError(
      `config.json has num_positions ${vision.num_positions}; an image of ${vision.image_size} in patches of ${vision.patch_size} needs ${positionCount}`,
    )
  }
  exactQuotient('vision hidden_size', vision.hidden_size, 'num_heads', vision.num_heads)
  // A last odd row and column is left out, as the released code counts patches.
  const outputSide = second ? Math.floor(gridSide / 2) : gridSide
  if (outputSide === 0)
    throw new UserError(
      `config.json has image_size ${vision.image_size} in patches of ${vision.patch_size}; the convolution of CogVLM2 needs two patches a side`,
    )
  return {
    patchRows: outputSide * outputSide,
    tower: {
      imageSize: vision.image_size,
      patchSize: vision.patch_size,
      gridSide,
      positionCount,
      width: vision.hidden_size,
      headCount: vision.num_heads,
      layerCount: vision.num_hidden_layers,
      innerSize: vision.intermediate_size,
      epsilon: vision.layer_norm_eps,
    },
  }
}

function exactQuotient(name: string, value: number, divisorName: string, divisor: number): number {
  if (value % divisor !== 0)
    throw new UserError(`config.json has ${name} ${value}, which is no multiple of ${divisorName} ${divisor}`)
  return value / divisor
}
