// A layer of the CogVLM family: both experts around joint attention (paper section 2.2). It does not know how many there are,
// nor what comes before and after them.
import { InvariantError } from '../../../schemas/errors.ts'
import { decoderAttention } from '../attention.ts'
import type { Attended, AttentionFrame, LayerCache, LayerRows } from '../attention-frame.ts'
import type { GraphBuilder, Value } from '../graph.ts'
import { gatedActivation, rmsNorm } from '../layers.ts'
import { product, productInSteps, vector } from './build-parts.ts'
import type { Build } from './build-parts.ts'
import type { VisionShare } from './cogvlm-frame.ts'

/** Rows of the visual expert and of the language expert. */
export type Streams = { vision: Value; language: Value }

export type LayerStep = {
  frame: AttentionFrame
  layer: number
  streams: Streams
  cache: LayerCache
  vision: VisionShare
  /** Of the last layer only the rows that give logits are read, which are the language expert's. */
  isLast: boolean
}

/**
 *   x ─ RMSNorm ─ qkv of its expert ─┐                        ┌─ dense of its expert ─ + x ─ RMSNorm ─ MLP of its expert ─ + ─
 *   (vision rows; language rows)     ├─ joint attention ─ split
 * The visual expert's part stands in branches, so that a step without image rows does not touch it.
 */
export function decoderLayer(
  builder: GraphBuilder,
  build: Build,
  { frame, layer, streams, cache, vision, isLast }: LayerStep,
): { streams: Streams; attended: Attended } {
  const scope = builder.scope(`layers.${layer}`)
  const languageQkv = expertQueries(scope, build, { expert: 'language', layer, x: streams.language })
  const joinVision = (inner: GraphBuilder): Value => {
    const visionQkv = expertQueries(inner, build, { expert: 'vision', layer, x: streams.vision })
    return inner.op('Concat', [visionQkv, languageQkv], { attributes: { axis: 0 }, as: 'joined' })
  }
  const qkv = choose(scope, vision.is?.there, 'qkv', { yes: joinVision, no: () => languageQkv })
  const lastRows =
    isLast && vision.is !== undefined ? { areAll: vision.is.wanted, start: vision.languageStart } : undefined
  const attended = decoderAttention(scope.scope('attention'), frame, { qkv, cache, lastRows })
  const slice = (inner: GraphBuilder, from: Value, to: Value): Value =>
    inner.op('Slice', [attended.context, from, to, inner.int64([0])], { as: 'own_context' })
  const end = (expert: Expert, inner: GraphBuilder, context: Value): Value =>
    expertOutput(inner, build, { expert, layer, x: streams[expert], context })
  const languageScope = scope.scope('language')
  const languageContext = slice(languageScope, vision.languageStart, scope.int64([2 ** 31 - 1]))
  const out = {
    vision: choose(scope.scope('vision'), isLast ? vision.is?.wanted : vision.is?.there, 'out', {
      yes: (inner) => end('vision', inner, slice(inner, inner.int64([0]), vision.count)),
      no: () => streams.vision,
    }),
    language: languageScope.op('Identity', [end('language', languageScope, languageContext)], { as: 'out' }),
  }
  return { streams: out, attended }
}

/** The layer for rows of the language expert alone, given the cache that it grows: on a device. */
export function languageLayer(
  builder: GraphBuilder,
  build: Build,
  { frame, layer, x, cache }: { frame: AttentionFrame; layer: number; x: Value; cache: LayerCache },
): { x: Value; cache: LayerRows } {
  const scope = builder.scope(`layers.${layer}`)
  const qkv = expertQueries(scope, build, { expert: 'language', layer, x })
  const { context, suffix } = decoderAttention(scope.scope('attention'), frame, { qkv, cache })
  if (suffix === undefined) throw new InvariantError('attention grows no cache here')
  return {
    x: expertOutput(scope.scope('language'), build, { expert: 'language', layer, x, context }),
    cache: suffix,
  }
}

/** One of two ways where there is a condition; the first where there is none. */
function choose(
  builder: GraphBuilder,
  condition: Value | undefined,
  name: string,
  ways: { yes: (builder: GraphBuilder) => Value; no: (builder: GraphBuilder) => Value },
): Value {
  if (condition === undefined) return builder.op('Identity', [ways.yes(builder)], { as: name })
  const [value] = builder.branch(condition, [name], {
    yes: (inner) => [ways.yes(inner)],
    no: (inner) => [ways.no(inner)],
  })
  if (value === undefined) throw new InvariantError('a branch made no value')
  return value
}

/** dense ─ + x ─ RMSNorm ─ MLP ─ + */
function expertOutput(
  scope: GraphBuilder,
  build: Build,
  { expert, layer, x, context }: { expert: Expert; layer: number; x: Value; context: Value },
): Value {
  const dense = product(scope, build, context, {
    tensor: `model.layers.${layer}.self_attn.${expert}_expert_dense.weight`,
    name: 'dense',
    role: roleOf(expert),
    inputsAreMeans: true,
  })
  const middle = scope.op('Add', [x, dense], { as: 'middle' })
  return scope.op('Add', [middle, expertMlp(scope, build, { expert, layer, x: middle })], { as: 'end' })
}

type Expert = 'vision' | 'language'

function roleOf(expert: Expert): 'visionExpert' | 'languageExpert' {
  return expert === 'vision' ? 'visionExpert' : 'languageExpert'
}

function expertQueries(
  scope: GraphBuilder,
  build: Build,
  { expert, layer, x }: { expert: Expert; layer: number; x: Value },
): Value {
  const within = scope.scope(expert)
  const tensor = `model.layers.${layer}.self_attn.${expert}_expert_query_key_value`
  const gains = `model.layers.${layer}.input_layernorm.weight`
  const normed = rmsNorm(
    within,
    x,
    vector(scope, build, gains, 'input_layernorm.weight'),
    build.variant.rmsEpsilon,
  )
  // The only bias in the decoder, and only in the second generation.
  const hasBias = build.vectors.has(`${tensor}.bias`)
  return product(within, build, normed, {
    tensor: `${tensor}.weight`,
    name: 'qkv',
    role: roleOf(expert),
    gains,
    ...(hasBias ? { bias: `${tensor}.bias` } : {}),
  })
}

function expertMlp(
  within: GraphBuilder,
  build: Build,
  { expert, layer, x }: { expert: Expert; layer: number; x: Value },
): Value {
  const prefix = `model.layers.${layer}.mlp.${expert}_mlp`
  const gains = `model.layers.${layer}.post_attention_layernorm.weight`
  const scope = within.scope('mlp')
  const normed = rmsNorm(
    scope,
    x,
    vector(within, build, gains, 'post_attention_layernorm.weight'),
    build.variant.rmsEpsilon,
  )
  const half = (name: 'gate' | 'up') => ({
    tensor: `${prefix}.${name}_proj.weight`,
    name,
    role: roleOf(expert),
    gains,
  })
  // A factor of a row goes through the gate as it is, and into what the next product divides its rows by.
  const up = productInSteps(scope, build, normed, half('up'))
  const inner = gatedActivation(scope, product(scope, build, normed, half('gate')), up.product)
  return product(scope, build, inner, {
    tensor: `${prefix}.down_proj.weight`,
    name: 'down',
    role: roleOf(expert),
    inputSteps: up.rowSteps,
  })
}
