// Greedy tokens chosen inside the graph, several a run, so that a cache that cannot stay on its device crosses the bus once
// for all of them. For rows that are decoding: each gives logits, and its likeliest token is the next row's.
import type { AttentionFrame, LayerPrefix, LayerRows } from '../attention-frame.ts'
import type { GraphBuilder, Value } from '../graph.ts'
import type { Build } from './build-parts.ts'
import { attentionOutputs } from './cogvlm-frame.ts'
import { languageLayer } from './cogvlm-layer.ts'

/** One layer's cache after the run's own rows. */
export type AheadLayer = { prefix: readonly LayerPrefix[]; suffix: LayerRows }

type Ahead = {
  frame: AttentionFrame
  /** [R, V] */
  logits: Value
  layers: readonly AheadLayer[]
  embed: (builder: GraphBuilder, build: Build, tokens: Value) => Value
  score: (builder: GraphBuilder, build: Build, rows: Value) => Value
}

/**
 *   logits ─ ArgMax ─ tokens ─┐
 *   mask, suffixes ───────────┴ Loop(ahead_count){ tokens ─ embed ─ layers ─ logits ─ ArgMax ─ tokens } ─┬ last suffixes
 *                                                                                                       └ all tokens
 * Inputs: ahead_count int64 [], next_positions int64 [1, R] of the first token, own_mask [G*R, R] of rows among themselves,
 * and whole rotary tables. Outputs: ahead_tokens int64 [N, R]; ahead_sums [N, R], the sums of their logits, which are no
 * numbers where one of these is none; of each layer the suffix with all rows.
 */
export function goAhead(
  builder: GraphBuilder,
  build: Build,
  { frame, logits, layers, embed, score }: Ahead,
): void {
  const { variant } = build
  const halfDim = variant.headDim / 2
  const count = builder.input('ahead_count', 'int64', [])
  const positions = builder.input('next_positions', 'int64', [1, 'R'])
  const own = builder.input('own_mask', 'float32', ['G', 'R'])
  const cos = builder.input('table_cos', 'float32', ['T', halfDim])
  const sin = builder.input('table_sin', 'float32', ['T', halfDim])
  // What a matrix is stored as was told when the run's own rows went through it.
  const inside: Build = { ...build, context: { ...build.context, quantized: [] } }
  const first = builder.scope('ahead')
  const caches = layers.flatMap(({ suffix }) => [suffix.keys, suffix.values])
  const done = builder.loop(count, 'ahead', {
    state: [likeliest(first, logits), frame.mask, ...caches],
    body(inner, { index, state: [tokens, mask, ...given] }) {
      const seen = inner.op('Concat', [mask ?? own, own], { attributes: { axis: 1 }, as: 'mask' })
      const loopFrame: AttentionFrame = {
        ...frame,
        cos,
        sin,
        positionIds: inner.op('Add', [positions, index], { as: 'positions' }),
        mask: seen,
        keyCounts: undefined,
        device: frame.device && { ...frame.device, keptSlots: undefined },
      }
      let x = embed(inner, inside, tokens ?? positions)
      const grown: Value[] = []
      for (const [layer, { prefix }] of layers.entries()) {
        const cache = {
          prefixes: prefix,
          suffixKeys: given[2 * layer] ?? x,
          suffixValues: given[2 * layer + 1] ?? x,
        }
        const next = languageLayer(inner, inside, { frame: loopFrame, layer, x, cache })
        x = next.x
        grown.push(next.cache.keys, next.cache.values)
      }
      const said = score(inner, inside, x)
      const next = likeliest(inner, said)
      const sums = inner.op('ReduceSum', [said, inner.int64([1])], { attributes: { keepdims: 0 } })
      return { state: [next, seen, ...grown], stacked: [next, sums] }
    },
  })
  const [, , ...last] = done.state
  for (const layer of layers.keys()) {
    const suffix = { keys: last[2 * layer] ?? logits, values: last[2 * layer + 1] ?? logits }
    attentionOutputs(builder, variant, { layer, attended: { context: logits, suffix } })
  }
  const [tokens = count, sums = logits] = done.stacked
  builder.output('ahead_tokens', tokens, ['N', 'R'])
  builder.output('ahead_sums', sums, ['N', 'R'])
}

/** int64 [R]: of equal logits the first, as the sampler takes it. */
function likeliest(builder: GraphBuilder, logits: Value): Value {
  return builder.op('ArgMax', [logits], {
    attributes: { axis: 1, keepdims: 0 },
    elementType: 'int64',
    as: 'likeliest',
  })
}
