// Finds out at load how this CPU multiplies bytes, and picks the activation range in which it is exact.
import { join } from 'node:path'
import { UserError } from '../../schemas/errors.ts'
import { IntegerFormat } from '../../schemas/model-manifest.ts'
import type { CacheFormat } from '../../schemas/model-manifest.ts'
import type { CompiledModel } from './compiled-model.ts'
import { openSession } from './session.ts'
import type { GraphTensor, HostTensor } from './session.ts'

/** What the integer products are fed, and the name that goes into each record. */
export type Kernel = { name: string; feeds: Readonly<Record<string, HostTensor>>; notice?: string }

const depth = 256
const width = 64

/**
 * Runs one product at its worst case (all codes at the top, all weights at +-127) for one row and for many, since the
 * runtime has different kernels for the two. Exact: 8-bit activations. Otherwise: 7-bit ones, whose pairs of products
 * cannot leave 16 bits (2 * 127 * 127 = 32258). Throws UserError when even these come out wrong.
 */
export async function detectKernel(
  { folder, manifest }: CompiledModel,
  cacheFormat: CacheFormat = 'fp32',
): Promise<Kernel> {
  const hasBytes = manifest.quantized.some(({ format }) => IntegerFormat.safeParse(format).success)
  if (manifest.graphs.kernelCheck === undefined || !(hasBytes || cacheFormat === 'int8'))
    return { name: manifest.weights, feeds: {} }
  const session = await openSession({ graph: join(folder, manifest.graphs.kernelCheck), threads: 1 })
  try {
    for (const levels of [127, 63]) {
      const feeds = rangeFeeds(levels)
      const exact = await Promise.all(
        [1, 64].map((rows) =>
          isExact({ rows, levels, run: (codes) => session.run({ codes, ...feeds }, ['sums']) }),
        ),
      )
      if (!exact.every(Boolean)) continue
      if (levels === 127) return { name: `${manifest.weights}-8bit`, feeds }
      const notice =
        'this CPU adds byte products in 16 bits (no VNNI); activations use 7 bits a byte, where that is exact'
      return { name: `${manifest.weights}-7bit`, feeds, notice }
    }
  } finally {
    await session.close()
  }
  throw new UserError(
    'the integer products of this CPU are not exact even at 7 bits; compile the model with --weights fp32',
  )
}

function rangeFeeds(levels: number): Record<string, HostTensor> {
  return {
    activation_levels: { type: 'float32', data: Float32Array.of(levels), dims: [] },
    activation_zero: { type: 'uint8', data: Uint8Array.of(levels + 1), dims: [] },
  }
}

async function isExact({
  rows,
  levels,
  run,
}: {
  rows: number
  levels: number
  run: (codes: HostTensor) => Promise<Record<string, GraphTensor>>
}): Promise<boolean> {
  const top = 2 * levels + 1
  const codes = new Uint8Array(rows * depth).fill(top)
  const { sums } = await run({ type: 'uint8', data: codes, dims: [rows, depth] })
  if (sums?.type !== 'int32') return false
  // Column n holds 127 or -127 throughout; the codes stand for top - zero = levels.
  return sums.data.every((sum, index) => sum === depth * levels * ((index % width) % 2 === 0 ? 127 : -127))
}
