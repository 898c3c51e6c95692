// Graphs that have one way of attention only (those for GPUs): what stands in for the CPU's ways. Knows memory layout.
import { causalMask, masked } from './attention-mask.ts'
import { emptyRows } from './kv-cache.ts'
import type { CacheRows, CacheShape, NewRows, PrefixRows } from './kv-cache.ts'
import type { DecoderRows, DecoderStep, Ran } from './decoder-contract.ts'

type StepRunner = (step: DecoderStep) => Promise<Ran & { newRows: NewRows }>

/** Rows in causal order behind a prefix, as a step, and the prefix that the two make. */
export async function extendByStep(
  { run, shape }: { run: StepRunner; shape: CacheShape },
  rows: DecoderRows,
  past: PrefixRows,
): Promise<Ran & { prefix: PrefixRows }> {
  const rowCount = rows.positionIds.length
  const slots = [{ prefix: past, rowCount }]
  const mask = causalMask(rowCount)
  const { newRows, ...ran } = await run({ ...rows, slots, suffix: emptyRows(shape), mask })
  return { ...ran, prefix: { format: 'fp32', ...joinRows(shape, past, newRows) } }
}

/** The mask over prefix, suffix and rows [R, P + S + R]; the prefix is seen by all, or by none where it stands for nothing. */
export function maskWithPrefix(
  mask: Float32Array,
  { rowCount, prefixLength, isSeen }: { rowCount: number; prefixLength: number; isSeen: boolean },
): Float32Array {
  const width = mask.length / rowCount
  const whole = new Float32Array(rowCount * (prefixLength + width))
  for (let row = 0; row < rowCount; row++) {
    const start = row * (prefixLength + width)
    if (!isSeen) whole.fill(masked, start, start + prefixLength)
    whole.set(mask.subarray(row * width, (row + 1) * width), start + prefixLength)
  }
  return whole
}

function joinRows({ kvHeadCount, headDim }: CacheShape, past: PrefixRows, added: NewRows): CacheRows {
  const length = past.length + added.length
  const keys = added.keys.map((own, layer) => {
    const joined = new Float32Array(kvHeadCount * length * headDim)
    for (let head = 0; head < kvHeadCount; head++) {
      const at = head * length * headDim
      const before = past.keys[layer]?.subarray(
        head * past.length * headDim,
        (head + 1) * past.length * headDim,
      )
      if (before !== undefined) joined.set(before, at)
      joined.set(
        own.subarray(head * added.length * headDim, (head + 1) * added.length * headDim),
        at + past.length * headDim,
      )
    }
    return joined
  })
  const values = added.values.map((own, layer) => {
    const joined = new Float32Array(kvHeadCount * headDim * length)
    for (let line = 0; line < kvHeadCount * headDim; line++) {
      const before = past.values[layer]?.subarray(line * past.length, (line + 1) * past.length)
      if (before !== undefined) joined.set(before, line * length)
      const [head, dim] = [Math.floor(line / headDim), line % headDim]
      for (let row = 0; row < added.length; row++)
        joined[line * length + past.length + row] = own[(head * added.length + row) * headDim + dim] ?? 0
    }
    return joined
  })
  return { length, keys, values }
}
