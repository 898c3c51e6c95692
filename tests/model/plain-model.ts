// The second oracle: CogVLM in plain loops over float64, straight from the paper and the facts about the released code.
// No cache, no batching, no shared prefix: every row of every sequence is computed from the start. Slow and obvious.
import { openCheckpoint } from '../../gpu-worker/model/checkpoint.ts'

type Row = Float64Array
type Tensor = { shape: readonly number[]; data: Float32Array }

/** The fields of config.json that the forward pass needs, spelled as there. */
type Config = {
  num_hidden_layers: number
  num_attention_heads: number
  num_multi_query_heads?: number
  rms_norm_eps: number
  vision_config: {
    image_size: number
    patch_size: number
    num_heads: number
    num_hidden_layers: number
    layer_norm_eps: number
  }
}

export type PlainModel = { config: Config; tensors: ReadonlyMap<string, Tensor>; second: boolean }

export type PlainCase = { pixels: Float32Array | null; inputIds: readonly number[] }
export type PlainTrace = { imageFeatures: Row[]; hidden: Row[][]; finalNorm: Row[]; lastLogits: Row }

/** Reads every tensor of a checkpoint folder. */
export async function loadPlainModel(folder: string): Promise<PlainModel> {
  const checkpoint = await openCheckpoint(folder)
  try {
    const tensors = new Map<string, Tensor>()
    for (const [name, shape] of checkpoint.shapes)
      tensors.set(name, { shape, data: await checkpoint.readRows(name, 0, shape[0] ?? 1) })
    return { config: checkpoint.config as Config, tensors, second: tensors.has('model.vision.conv.weight') } // our own generator wrote it
  } finally {
    await checkpoint.close()
  }
}

/** Runs one sequence: bos, then the image's placeholders where there is one, then text. */
export function plainForward(model: PlainModel, { pixels, inputIds }: PlainCase): PlainTrace {
  const imageFeatures = pixels === null ? [] : plainImageFeatures(model, pixels)
  const imageRows = imageFeatures.length
  const embedding = tensor(model, 'model.embed_tokens.weight')
  let rows = inputIds.map((id, index) =>
    index >= 1 && index <= imageRows ? rowOf(imageFeatures, index - 1) : tensorRow(embedding, id),
  )
  const positions = inputIds.map((_, index) => positionOf(index, imageRows))
  // boi and the patches; eoi, the last of the image's rows, goes through the language expert.
  const isVision = inputIds.map((_, index) => index >= 1 && index < imageRows)
  const hidden: Row[][] = []
  for (let layer = 0; layer < model.config.num_hidden_layers; layer++) {
    rows = decoderLayer(model, layer, { rows, positions, isVision })
    hidden.push(rows)
  }
  const finalNorm = rows.map((row) =>
    rmsNorm(row, vector(model, 'model.norm.weight'), model.config.rms_norm_eps),
  )
  return {
    imageFeatures,
    hidden,
    finalNorm,
    lastLogits: matrixTimes(tensor(model, 'lm_head.weight'), rowOf(finalNorm, -1)),
  }
}

/** Continues greedily by running the whole sequence again for every token. `margin`: least gap of the two best logits. */
export function plainGreedy(
  model: PlainModel,
  { pixels, inputIds }: PlainCase,
  count: number,
): { ids: number[]; margin: number } {
  const ids = [...inputIds]
  let margin = Infinity
  for (let step = 0; step < count; step++) {
    const { lastLogits } = plainForward(model, { pixels, inputIds: ids })
    const order = Array.from(lastLogits.keys()).sort((a, b) => (lastLogits[b] ?? 0) - (lastLogits[a] ?? 0))
    margin = Math.min(margin, (lastLogits[order[0] ?? 0] ?? 0) - (lastLogits[order[1] ?? 0] ?? 0))
    ids.push(order[0] ?? 0)
  }
  return { ids: ids.slice(inputIds.length), margin }
}

/** bos 0, boi 1, all patches 2, eoi 3, text from 4; without an image 0, 1, 2, ... */
function positionOf(index: number, imageRows: number): number {
  if (imageRows === 0 || index <= 1) return index
  if (index < imageRows) return 2
  return index === imageRows ? 3 : 3 + index - imageRows
}

/** Tower, optional 2x2 convolution, adapter, boi and eoi around: [patches + 2][H]. */
function plainImageFeatures(model: PlainModel, pixels: Float32Array): Row[] {
  const { num_hidden_layers: layerCount } = model.config.vision_config
  let rows = patchRows(model, pixels)
  for (let layer = 0; layer < layerCount; layer++) rows = towerLayer(model, layer, rows)
  rows = rows.slice(1)
  if (model.second) rows = halve(model, rows)
  const adapter = (name: string): string => `model.vision.linear_proj.${name}`
  const projected = rows.map((row) => {
    const start = matrixTimes(tensor(model, adapter('linear_proj.weight')), row)
    const normed = layerNorm(start, {
      weight: vector(model, adapter('norm1.weight')),
      bias: vector(model, adapter('norm1.bias')),
      epsilon: 1e-5,
    })
    return gated(model, normed.map(gelu), {
      gate: adapter('gate_proj.weight'),
      up: adapter('dense_h_to_4h.weight'),
      down: adapter('dense_4h_to_h.weight'),
    })
  })
  return [vector(model, 'model.vision.boi'), ...projected, vector(model, 'model.vision.eoi')]
}

/** The convolution of stride = kernel size, one patch at a time; cls in front; a learned position each. */
function patchRows(model: PlainModel, pixels: Float32Array): Row[] {
  const { image_size: size, patch_size: patch } = model.config.vision_config
  const prefix = 'model.vision.patch_embedding'
  const grid = size / patch
  const rows = [vector(model, `${prefix}.cls_embedding`)]
  for (let index = 0; index < grid * grid; index++) {
    const [top, left] = [Math.floor(index / grid) * patch, (index % grid) * patch]
    const window = new Float64Array(3 * patch * patch)
    for (let at = 0; at < window.length; at++) {
      const [channel, y, x] = [Math.floor(at / (patch * patch)), Math.floor(at / patch) % patch, at % patch]
      window[at] = pixels[(channel * size + top + y) * size + left + x] ?? 0
    }
    rows.push(
      add(matrixTimes(tensor(model, `${prefix}.proj.weight`), window), vector(model, `${prefix}.proj.bias`)),
    )
  }
  const positions = tensor(model, `${prefix}.position_embedding.weight`)
  return rows.map((row, index) => add(row, tensorRow(positions, index)))
}

/** The norms stand behind the branches: x + LN(attention(x)), then x + LN(mlp(x)). */
function towerLayer(model: PlainModel, layer: number, rows: Row[]): Row[] {
  const { num_heads: heads, layer_norm_eps: epsilon } = model.config.vision_config
  const name = (part: string): string => `model.vision.transformer.layers.${layer}.${part}`
  const affine = (part: string, row: Row): Row =>
    add(matrixTimes(tensor(model, name(`${part}.weight`)), row), vector(model, name(`${part}.bias`)))
  const norm = (part: string, row: Row): Row =>
    layerNorm(row, {
      weight: vector(model, name(`${part}.weight`)),
      bias: vector(model, name(`${part}.bias`)),
      epsilon,
    })
  const qkv = rows.map((row) => affine('attention.query_key_value', row))
  const width = rowOf(rows, 0).length
  const [q, k, v] = [0, 1, 2].map((part) => qkv.map((row) => row.subarray(part * width, (part + 1) * width)))
  const attended = attend({ q: q ?? [], k: k ?? [], v: v ?? [], heads, kvHeads: heads, causal: false })
  const middle = rows.map((row, index) =>
    add(row, norm('input_layernorm', affine('attention.dense', rowOf(attended, index)))),
  )
  return middle.map((row) =>
    add(row, norm('post_attention_layernorm', affine('mlp.fc2', affine('mlp.fc1', row).map(gelu)))),
  )
}

/** Conv2d of kernel 2 and stride 2 over the row-major grid; a last odd row and column is left out. */
function halve(model: PlainModel, rows: readonly Row[]): Row[] {
  const kernel = tensor(model, 'model.vision.conv.weight')
  const bias = vector(model, 'model.vision.conv.bias')
  const grid = Math.sqrt(rows.length)
  const side = Math.floor(grid / 2)
  return Array.from({ length: side * side }, (_, index) => {
    const [y, x] = [Math.floor(index / side) * 2, (index % side) * 2]
    return bias.map((start, out) => {
      let sum = start
      for (let channel = 0; channel < bias.length; channel++) {
        for (const [dy, dx] of [
          [0, 0],
          [0, 1],
          [1, 0],
          [1, 1],
        ] as const) {
          sum +=
            (kernel.data[((out * bias.length + channel) * 2 + dy) * 2 + dx] ?? 0) *
            (rowOf(rows, (y + dy) * grid + x + dx)[channel] ?? 0)
        }
      }
      return sum
    })
  })
}

function decoderLayer(
  model: PlainModel,
  layer: number,
  { rows, positions, isVision }: { rows: Row[]; positions: number[]; isVision: boolean[] },
): Row[] {
  const { num_attention_heads: heads, rms_norm_eps: epsilon } = model.config
  const kvHeads = model.second ? (model.config.num_multi_query_heads ?? 8) : heads
  const name = (part: string): string => `model.layers.${layer}.${part}`
  const expert = (index: number): string => (isVision[index] === true ? 'vision' : 'language')
  const width = rowOf(rows, 0).length
  const headDim = width / heads
  const frequencies = rotaryFrequencies(model, headDim)
  const qkv = rows.map((row, index) => {
    const base = name(`self_attn.${expert(index)}_expert_query_key_value`)
    const product = matrixTimes(
      tensor(model, `${base}.weight`),
      rmsNorm(row, vector(model, name('input_layernorm.weight')), epsilon),
    )
    return model.tensors.has(`${base}.bias`) ? add(product, vector(model, `${base}.bias`)) : product
  })
  const turned = (from: number, to: number): Row[] =>
    qkv.map((row, index) => rotate(row.subarray(from, to), frequencies, positions[index] ?? 0))
  const keyEnd = width + kvHeads * headDim
  const attended = attend({
    q: turned(0, width),
    k: turned(width, keyEnd),
    v: qkv.map((row) => row.subarray(keyEnd)),
    heads,
    kvHeads,
    causal: true,
  })
  return rows.map((row, index) => {
    const middle = add(
      row,
      matrixTimes(
        tensor(model, name(`self_attn.${expert(index)}_expert_dense.weight`)),
        rowOf(attended, index),
      ),
    )
    const normed = rmsNorm(middle, vector(model, name('post_attention_layernorm.weight')), epsilon)
    const mlp = (part: string): string => name(`mlp.${expert(index)}_mlp.${part}.weight`)
    return add(
      middle,
      gated(model, normed, { gate: mlp('gate_proj'), up: mlp('up_proj'), down: mlp('down_proj') }),
    )
  })
}

/** The stored buffer where there is one; theta is 10000 in the first generation, 500000 in the second. */
function rotaryFrequencies(model: PlainModel, headDim: number): Row {
  const stored = model.tensors.get('model.layers.0.self_attn.rotary_emb.inv_freq')
  if (stored !== undefined) return Float64Array.from(stored.data)
  return Float64Array.from(
    { length: headDim / 2 },
    (_, index) => (model.second ? 500_000 : 10_000) ** ((-2 * index) / headDim),
  )
}

/** Half-split rotation of each head: pairs (i, i + d/2). */
function rotate(row: Row, frequencies: Row, position: number): Row {
  const half = frequencies.length
  return row.map((value, index) => {
    const within = index % (2 * half)
    const angle = position * (frequencies[within % half] ?? 0)
    const other = within < half ? -(row[index + half] ?? 0) : (row[index - half] ?? 0)
    return value * Math.cos(angle) + other * Math.sin(angle)
  })
}

/** Softmax attention; query head h reads KV head floor(h / (heads / kvHeads)). */
function attend({
  q,
  k,
  v,
  heads,
  kvHeads,
  causal,
}: {
  q: Row[]
  k: Row[]
  v: Row[]
  heads: number
  kvHeads: number
  causal: boolean
}): Row[] {
  const dim = rowOf(q, 0).length / heads
  return q.map((query, index) => {
    const seen = causal ? index + 1 : k.length
    const out = new Float64Array(query.length)
    for (let head = 0; head < heads; head++) {
      const kvStart = Math.floor(head / (heads / kvHeads)) * dim
      const scores = Array.from({ length: seen }, (_, key) => {
        let sum = 0
        for (let i = 0; i < dim; i++) sum += (query[head * dim + i] ?? 0) * (rowOf(k, key)[kvStart + i] ?? 0)
        return sum / Math.sqrt(dim)
      })
      const largest = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - largest))
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      for (const [key, weight] of weights.entries()) {
        for (let i = 0; i < dim; i++)
          out[head * dim + i] =
            (out[head * dim + i] ?? 0) + (weight / total) * (rowOf(v, key)[kvStart + i] ?? 0)
      }
    }
    return out
  })
}

/** down(silu(gate(x)) * up(x)) */
function gated(
  model: PlainModel,
  row: Row,
  { gate, up, down }: { gate: string; up: string; down: string },
): Row {
  const raised = matrixTimes(tensor(model, up), row)
  const opened = matrixTimes(tensor(model, gate), row).map(
    (value, index) => (value / (1 + Math.exp(-value))) * (raised[index] ?? 0),
  )
  return matrixTimes(tensor(model, down), opened)
}

function rmsNorm(row: Row, weight: Row, epsilon: number): Row {
  const mean = row.reduce((sum, value) => sum + value * value, 0) / row.length
  return row.map((value, index) => (value / Math.sqrt(mean + epsilon)) * (weight[index] ?? 0))
}

function layerNorm(row: Row, { weight, bias, epsilon }: { weight: Row; bias: Row; epsilon: number }): Row {
  const mean = row.reduce((sum, value) => sum + value, 0) / row.length
  const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length
  return row.map(
    (value, index) =>
      ((value - mean) / Math.sqrt(variance + epsilon)) * (weight[index] ?? 0) + (bias[index] ?? 0),
  )
}

function gelu(value: number): number {
  return (value / 2) * (1 + erf(value / Math.SQRT2))
}

/** The Taylor series, which converges everywhere and loses no digits that matter below 4; beyond it is 1 to 1e-8. */
function erf(x: number): number {
  if (Math.abs(x) > 4) return Math.sign(x)
  let [term, sum] = [x, x]
  for (let n = 1; n < 100; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

/** W x with W [out, everything else]. */
function matrixTimes({ shape, data }: Tensor, x: Row): Row {
  return Float64Array.from({ length: shape[0] ?? 0 }, (_, out) => {
    let sum = 0
    for (let index = 0; index < x.length; index++)
      sum += (data[out * x.length + index] ?? 0) * (x[index] ?? 0)
    return sum
  })
}

function add(a: Row, b: Row): Row {
  return a.map((value, index) => value + (b[index] ?? NaN))
}

function tensor(model: PlainModel, name: string): Tensor {
  const found = model.tensors.get(name)
  if (found === undefined) throw new Error(`the checkpoint has no ${name}`)
  return found
}

function vector(model: PlainModel, name: string): Row {
  return Float64Array.from(tensor(model, name).data)
}

function tensorRow({ shape, data }: Tensor, row: number): Row {
  const width = shape[1] ?? 0
  return Float64Array.from(data.subarray(row * width, (row + 1) * width))
}

function rowOf(rows: readonly Row[], index: number): Row {
  const row = rows.at(index)
  if (row === undefined) throw new Error(`there is no row ${index}`)
  return row
}
