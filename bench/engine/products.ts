// The large products of a compiled CogVLM of the first generation as shapes, read off its manifest. Knows no kernel.
import { z } from 'zod'
import type { ModelManifest, QuantizedMatrix } from '../../schemas/model-manifest.ts'
import type { Product } from './kernels.ts'

export type CountedProduct = Product & { count: number }

/** What of the checkpoint's config.json these shapes need. */
const Config = z.object({
  intermediate_size: z.number(),
  vision_config: z.object({
    hidden_size: z.number(),
    intermediate_size: z.number(),
    num_hidden_layers: z.number(),
    num_positions: z.number(),
  }),
})

type Shape = { name: string; depth: number; width: number }

/** Products of prefilling one image: the visual expert at boi and patches, the language expert at eoi, the head once. */
export function decoderProducts(manifest: ModelManifest): CountedProduct[] {
  const { layerCount } = manifest.language
  const rows = manifest.vision.patchRows + 1
  const experts = (['vision', 'language'] as const).flatMap((expert) =>
    expertShapes(manifest, expert).map((shape) =>
      counted(manifest, shape, { rows: expert === 'vision' ? rows : 1, count: layerCount }),
    ),
  )
  return [...experts, counted(manifest, headShape(manifest), { rows: 1, count: 1 })]
}

/** Products of the tower and its adapter. */
export function towerProducts(manifest: ModelManifest): CountedProduct[] {
  const { vision_config: tower, intermediate_size: inner } = Config.parse(manifest.source.config)
  const { hiddenSize } = manifest.language
  const width = tower.hidden_size
  const block = 'model.vision.transformer.layers.0'
  const blocks: Shape[] = [
    { name: `${block}.attention.query_key_value.weight`, depth: width, width: 3 * width },
    { name: `${block}.attention.dense.weight`, depth: width, width },
    { name: `${block}.mlp.fc1.weight`, depth: width, width: tower.intermediate_size },
    { name: `${block}.mlp.fc2.weight`, depth: tower.intermediate_size, width },
  ]
  const adapter: Shape[] = [
    { name: 'model.vision.linear_proj.linear_proj.weight', depth: width, width: hiddenSize },
    { name: 'model.vision.linear_proj.gate_proj.weight', depth: hiddenSize, width: inner },
    { name: 'model.vision.linear_proj.dense_h_to_4h.weight', depth: hiddenSize, width: inner },
    { name: 'model.vision.linear_proj.dense_4h_to_h.weight', depth: inner, width: hiddenSize },
  ]
  return [
    ...blocks.map((shape) =>
      counted(manifest, shape, { rows: tower.num_positions, count: tower.num_hidden_layers }),
    ),
    ...adapter.map((shape) => counted(manifest, shape, { rows: manifest.vision.patchRows, count: 1 })),
  ]
}

/** Bytes of weights that a decode step reads: the language expert and the head. */
export function stepWeightBytes(manifest: ModelManifest): number {
  const layer = expertShapes(manifest, 'language').map((shape) => weightBytes(manifest, shape))
  return (
    layer.reduce((sum, bytes) => sum + bytes, 0) * manifest.language.layerCount +
    weightBytes(manifest, headShape(manifest))
  )
}

function expertShapes(manifest: ModelManifest, expert: 'vision' | 'language'): Shape[] {
  const { intermediate_size: inner } = Config.parse(manifest.source.config)
  const { hiddenSize, headCount, kvHeadCount, headDim } = manifest.language
  const attention = `model.layers.0.self_attn.${expert}_expert`
  const mlp = `model.layers.0.mlp.${expert}_mlp`
  return [
    {
      name: `${attention}_query_key_value.weight`,
      depth: hiddenSize,
      width: (headCount + 2 * kvHeadCount) * headDim,
    },
    { name: `${attention}_dense.weight`, depth: headCount * headDim, width: hiddenSize },
    { name: `${mlp}.gate_proj.weight`, depth: hiddenSize, width: inner },
    { name: `${mlp}.up_proj.weight`, depth: hiddenSize, width: inner },
    { name: `${mlp}.down_proj.weight`, depth: inner, width: hiddenSize },
  ]
}

function headShape({ language }: ModelManifest): Shape {
  return { name: 'lm_head.weight', depth: language.hiddenSize, width: language.vocabSize }
}

function counted(
  manifest: ModelManifest,
  { name, depth, width }: Shape,
  { rows, count }: { rows: number; count: number },
): CountedProduct {
  const stored = storedAs(manifest, name)
  const shape = { depth, width, count }
  switch (stored) {
    case 'int8':
    // Widening weights comes on top of their product.
    case 'int4-widened':
      return { format: 'int8', rows, ...shape }
    case 'int8-split':
    case 'int4-widened-split':
      return { format: 'int8', rows: 2 * rows, ...shape }
    default:
      return { format: stored, rows, ...shape }
  }
}

function weightBytes(manifest: ModelManifest, { name, depth, width }: Shape): number {
  const bytesPerWeight = {
    'fp32': 4,
    'int8': 1,
    'int8-split': 1,
    'int4': 0.5 + 4 / 32,
    'int4-widened': 0.5 + 4 / 32,
    'int4-widened-split': 0.5 + 4 / 32,
    'int8-block': 1 + 4 / 32,
  }
  return depth * width * bytesPerWeight[storedAs(manifest, name)]
}

function storedAs(manifest: ModelManifest, name: string): QuantizedMatrix['format'] | 'fp32' {
  return manifest.quantized.find((matrix) => matrix.name === name)?.format ?? 'fp32'
}
