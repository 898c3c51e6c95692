// The ways of a decode step's attention: each against plain loops over the same numbers, extreme scores included.
import { describe, expect, it } from 'vitest'
import { openSession } from '../../gpu-worker/engine/session.ts'
import { laneInputs } from '../../gpu-worker/engine/lane-inputs.ts'
import type { HostTensor } from '../../gpu-worker/engine/session.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import { decoderAttention } from '../../gpu-worker/model/attention.ts'
import { attentionShapes, cpuFrame } from '../../gpu-worker/model/attention-frame.ts'
import { GraphBuilder } from '../../gpu-worker/model/graph.ts'
import type { CodeRange } from '../../gpu-worker/model/linear-frame.ts'
import { encodeModel } from '../../gpu-worker/model/onnx.ts'
import { attentionWays, prefixSlots } from '../../schemas/model-manifest.ts'
import type { CacheFormat } from '../../schemas/model-manifest.ts'

const headDim = 4
const prefixRows = 5

/** Whose lane of the suffix is whose: row 0 has two of them, row 1 none. */
const laneSize = 2
function laneOwners(rows: number): (number | undefined)[] {
  return Array.from({ length: rows + 1 }, (_, lane) => (lane === 1 ? undefined : lane % rows))
}

type Case = {
  name: keyof typeof attentionWays
  headCount: number
  kvHeadCount: number
  /** Rows behind each prefix. */
  slotRows: readonly number[]
  cacheFormat?: CacheFormat
  /** Codes of a byte on either side of 0 that products of this CPU are exact with; 63 where they are added in 16 bits. */
  levels?: 127 | 63
  /** One row's queries are this many times as large, so that its scores leave those of the others far behind. */
  outlier?: number
}

const groups = [
  { headCount: 2, kvHeadCount: 2 },
  { headCount: 4, kvHeadCount: 2 },
]
const cases: Case[] = groups.flatMap((heads) => [
  { name: 'plain', ...heads, slotRows: [1] },
  { name: 'turned', ...heads, slotRows: [3] },
  { name: 'tall', ...heads, slotRows: [8] },
  { name: 'tall', ...heads, slotRows: [8], outlier: 2000 },
  { name: 'several', ...heads, slotRows: [1, 2, 1] },
  { name: 'severalTall', ...heads, slotRows: [3, 5] },
  { name: 'severalTall', ...heads, slotRows: [2, 3, 2, 2], outlier: 2000 },
])

/** In bytes all ways are held to what loops give over the numbers that the bytes stand for. */
const byteCases = cases
  .filter(({ outlier = 1 }) => outlier === 1)
  .flatMap((each): Case[] => [
    { ...each, cacheFormat: 'int8', levels: 127 },
    { ...each, cacheFormat: 'int8', levels: 63 },
  ])

describe.each([...cases, ...byteCases])(
  '$name, $headCount heads over $kvHeadCount, rows $slotRows, outlier $outlier, cache $cacheFormat, levels $levels',
  ({ name, headCount, kvHeadCount, slotRows, outlier = 1, cacheFormat = 'fp32', levels = 127 }) => {
    it('gives the averages of values that plain loops give', async () => {
      const rows = slotRows.reduce((sum, count) => sum + count, 0)
      const random = seededRandom(1)
      const noise = (count: number): Float32Array =>
        Float32Array.from({ length: count }, () => 2 * random() - 1)
      const width = (headCount + 2 * kvHeadCount) * headDim
      const qkv = noise(rows * width).map((value, index) => {
        const isLargest = Math.floor(index / width) === 1 && index % width < headCount * headDim
        return isLargest ? value * outlier : value
      })
      const prefixes = slotRows.map(() => ({
        keys: noise(kvHeadCount * prefixRows * headDim),
        values: noise(kvHeadCount * prefixRows * headDim),
      }))
      const owners = laneOwners(rows)
      const suffixRows = owners.length * laneSize
      const suffix = {
        keys: noise(kvHeadCount * suffixRows * headDim),
        values: noise(kvHeadCount * suffixRows * headDim),
      }
      // Every row sees itself, and of the suffix its own lanes, but for a slot that nothing was written to yet.
      const mask = Float32Array.from({ length: rows * (suffixRows + rows) }, (_, at) => {
        const [row, key] = [Math.floor(at / (suffixRows + rows)), at % (suffixRows + rows)]
        const isSeen =
          key < suffixRows
            ? owners[Math.floor(key / laneSize)] === row && key !== suffixRows - 1
            : key - suffixRows === row
        return isSeen ? 0 : -1e30
      })
      const inBytes = prefixes.map(({ keys, values }) => ({
        keys: toCodes(keys, levels),
        values: toCodes(values, 127),
      }))
      const restored = inBytes.map(({ keys, values }) => ({ keys: keys.restored, values: values.restored }))
      const isFloat = cacheFormat === 'fp32'
      const given = {
        headCount,
        kvHeadCount,
        slotRows,
        qkv,
        suffix,
        mask,
        prefixes: isFloat ? prefixes : restored,
      }
      const seen = await runGraph(
        { ...given, levels, codes: isFloat ? undefined : inBytes },
        attentionWays[name],
      )
      const expected = byLoops(given)
      expect(seen.length).toBe(expected.length)
      // A query in one byte is off by up to 0.4 % of its largest number.
      const most = isFloat ? 5e-5 : 5e-3
      for (const [index, value] of expected.entries())
        expect(Math.abs((seen[index] ?? NaN) - value)).toBeLessThan(most)
    })
  },
)

type Given = Pick<Case, 'headCount' | 'kvHeadCount' | 'slotRows'> & {
  qkv: Float32Array
  /** [kv, P, d] both. */
  prefixes: readonly { keys: Float32Array; values: Float32Array }[]
  suffix: { keys: Float32Array; values: Float32Array }
  mask: Float32Array
}

/** Numbers [kv, P, d] as whole numbers of steps, one step a channel, and what these stand for. */
type Codes = { whole: number[]; steps: Float32Array; restored: Float32Array }

function toCodes(x: Float32Array, levels: number): Codes {
  const channelOf = (at: number): number => Math.floor(at / (prefixRows * headDim)) * headDim + (at % headDim)
  const steps = new Float32Array(x.length / prefixRows)
  for (const [at, value] of x.entries())
    steps[channelOf(at)] = Math.max(steps[channelOf(at)] ?? 0, Math.abs(value) / levels)
  const whole = Array.from(x, (value, at) => Math.round(value / (steps[channelOf(at)] ?? NaN)))
  return { whole, steps, restored: x.map((_, at) => (whole[at] ?? NaN) * (steps[channelOf(at)] ?? NaN)) }
}

async function runGraph(
  given: Given & { levels: number; codes: readonly { keys: Codes; values: Codes }[] | undefined },
  way: number,
): Promise<Float32Array> {
  const { headCount, kvHeadCount, slotRows, qkv, prefixes, levels, codes, suffix, mask } = given
  const rows = slotRows.reduce((sum, count) => sum + count, 0)
  const owners = laneOwners(rows)
  const suffixRows = owners.length * laneSize
  const lanes = laneInputs({
    lanes: { size: laneSize, rows: owners },
    mask,
    rowCount: rows,
    slotCount: suffixRows,
  })
  const builder = new GraphBuilder('attention')
  const keyCounts = builder.input('key_counts', 'int64', [3])
  const maskInput = builder.input('mask', 'float32', ['R', 'K'])
  const input = (side: string, dims: (string | number)[]) => builder.input(side, 'float32', dims)
  const heads = { headCount, kvHeadCount, headDim }
  const range = (): CodeRange => ({
    levels: input('levels', []),
    zeroPoint: builder.input('zero', 'uint8', []),
    lowWeight: builder.float32([0.5 / levels], []),
  })
  const cpu = cpuFrame(builder, { keyCounts, codes: codes === undefined ? undefined : range(), ...heads })
  const slots = Array.from({ length: prefixSlots }, (_, slot) => {
    const all = cpu.bytes?.scales[slot]
    if (all === undefined)
      return {
        keys: input(`keys${slot}`, [kvHeadCount, 'P', headDim]),
        values: input(`values${slot}`, [kvHeadCount, headDim, 'P']),
      }
    return {
      keys: builder.input(`keys${slot}`, 'uint8', [kvHeadCount, 'P', headDim]),
      values: builder.input(`values${slot}`, 'int8', [kvHeadCount, 'P', headDim]),
      scales: { all, layer: 0 },
    }
  })
  const frame = {
    ...heads,
    target: 'cpu' as const,
    cacheFormat: codes === undefined ? ('fp32' as const) : ('int8' as const),
    positionIds: builder.input('position_ids', 'int64', [1, 'R']),
    cos: input('cos', ['M', headDim / 2]),
    sin: input('sin', ['M', headDim / 2]),
    mask: maskInput,
    keyCounts,
    shapes: attentionShapes(builder, heads),
    cpu,
    device: undefined,
  }
  const width = (headCount + 2 * kvHeadCount) * headDim
  const { context } = decoderAttention(builder, frame, {
    qkv: input('qkv', ['R', width]),
    cache: {
      prefixes: slots,
      suffixKeys: input('suffix_keys', [kvHeadCount, 'S', headDim]),
      suffixValues: input('suffix_values', [kvHeadCount, 'S', headDim]),
    },
  })
  builder.output('result', context, ['R', headCount * headDim])
  const session = await openSession({
    graph: { bytes: encodeModel(builder.graph, new Map()), weightsFolder: '.' },
    threads: 1,
  })
  const side = (data: Float32Array, length: number, turned: boolean): HostTensor =>
    turned
      ? floats(turnHeads(data, length, kvHeadCount), [kvHeadCount, headDim, length])
      : floats(data, [kvHeadCount, length, headDim])
  const prefixFeeds = slots.flatMap((_, slot): (readonly [string, HostTensor])[] => {
    const own = codes?.[slot] ?? codes?.[0]
    const dims = [kvHeadCount, prefixRows, headDim]
    if (own !== undefined)
      return [
        [
          `keys${slot}`,
          { type: 'uint8', data: Uint8Array.from(own.keys.whole, (code) => code + levels + 1), dims },
        ],
        [`values${slot}`, { type: 'int8', data: Int8Array.from(own.values.whole), dims }],
        [
          `prefix_scales.${slot}`,
          floats(Float32Array.of(...own.keys.steps, ...own.values.steps), [2, kvHeadCount, headDim, 1]),
        ],
      ]
    const { keys, values } = prefixes[slot] ?? prefixes[0] ?? suffix
    return [
      [`keys${slot}`, side(keys, prefixRows, false)] as const,
      [`values${slot}`, side(values, prefixRows, true)] as const,
    ]
  })
  const { result: seen } = await session.run(
    {
      ...Object.fromEntries(prefixFeeds),
      qkv: floats(qkv, [rows, width]),
      suffix_keys: side(suffix.keys, suffixRows, false),
      suffix_values: side(suffix.values, suffixRows, false),
      mask: floats(mask, [rows, suffixRows + rows]),
      key_counts: whole([prefixRows, suffixRows, rows], [3]),
      slot_rows: whole(
        slots.map((_, slot) => slotRows[slot] ?? 0),
        [prefixSlots],
      ),
      attention_way: whole([way], [1]),
      lane_shape: whole([kvHeadCount, owners.length, laneSize, headDim], [4]),
      lane_rows: whole(lanes.rows, [owners.length]),
      lane_mask: floats(lanes.mask, [owners.length, 1, laneSize]),
      lane_sums: floats(lanes.sums, [rows, owners.length]),
      position_ids: whole(new Array<number>(rows).fill(0), [1, rows]),
      // No turning: position 0 at angle 0. As many positions as rows, which the operator wants.
      cos: floats(new Float32Array((rows * headDim) / 2).fill(1), [rows, headDim / 2]),
      sin: floats(new Float32Array((rows * headDim) / 2), [rows, headDim / 2]),
      no_floats: floats(new Float32Array(0), [0]),
      no_key_codes: { type: 'uint8', data: new Uint8Array(0), dims: [0] },
      no_value_codes: { type: 'int8', data: new Int8Array(0), dims: [0] },
      levels: floats(Float32Array.of(levels), []),
      zero: { type: 'uint8', data: Uint8Array.of(levels + 1), dims: [] },
    },
    ['result'],
  )
  await session.close()
  return Float32Array.from(seen?.type === 'float32' ? seen.data : [])
}

function byLoops({ headCount, kvHeadCount, slotRows, qkv, prefixes, suffix, mask }: Given): number[] {
  const rows = slotRows.reduce((sum, count) => sum + count, 0)
  const slotOf = slotRows.flatMap((count, slot) => new Array<number>(count).fill(slot))
  const width = (headCount + 2 * kvHeadCount) * headDim
  const suffixRows = laneOwners(rows).length * laneSize
  const part = (data: Float32Array, start: number): number[] => [...data.subarray(start, start + headDim)]
  const context: number[] = []
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < headCount; head++) {
      const kv = Math.floor(head / (headCount / kvHeadCount))
      const query = part(qkv, row * width + head * headDim)
      const prefix = prefixes[slotOf[row] ?? 0] ?? suffix
      const cached = (of: Float32Array, length: number): number[][] =>
        Array.from({ length }, (_, key) => part(of, (kv * length + key) * headDim))
      const own = (offset: number): number[][] =>
        Array.from({ length: rows }, (_, other) => part(qkv, other * width + (offset + kv) * headDim))
      const keys = [...cached(prefix.keys, prefixRows), ...cached(suffix.keys, suffixRows), ...own(headCount)]
      const values = [
        ...cached(prefix.values, prefixRows),
        ...cached(suffix.values, suffixRows),
        ...own(headCount + kvHeadCount),
      ]
      const scores = keys.map((key, index) => {
        const hidden = index < prefixRows ? 0 : (mask[row * (suffixRows + rows) + index - prefixRows] ?? 0)
        return dot(query, key) / Math.sqrt(headDim) + hidden
      })
      const largest = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - largest))
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      for (let dim = 0; dim < headDim; dim++)
        context.push(
          dot(
            weights,
            values.map((value) => value[dim] ?? 0),
          ) / total,
        )
    }
  }
  return context
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0)
}

/** [kv, N, d] -> [kv, d, N] */
function turnHeads(data: Float32Array, length: number, kvHeadCount: number): Float32Array {
  return Float32Array.from({ length: kvHeadCount * headDim * length }, (_, at) => {
    const [line, row] = [Math.floor(at / length), at % length]
    return data[(Math.floor(line / headDim) * length + row) * headDim + (line % headDim)] ?? 0
  })
}

function floats(data: Float32Array, dims: readonly number[]): HostTensor {
  return { type: 'float32', data, dims }
}

function whole(numbers: readonly number[], dims: readonly number[]): HostTensor {
  return { type: 'int64', data: BigInt64Array.from(numbers, BigInt), dims }
}
