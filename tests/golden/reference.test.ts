// The compiled model against the original code: every tensor the goldens hold, every greedy token.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTracedDecoder } from '../../cli/trace.ts'
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { sequencePositions, visionExpertMask } from '../../gpu-worker/engine/layout.ts'
import { traceSequence } from '../../gpu-worker/engine/trace.ts'
import type { Trace } from '../../gpu-worker/engine/trace.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { imageIndex, listGoldens, openGolden, unpadded } from './golden-case.ts'
import type { Golden, GoldenCase } from './golden-case.ts'

/** Absolute tolerances of an fp32 implementation; the noise floor of the goldens is a few 1e-5. */
const tolerance = { imageFeatures: 1e-4, hidden: 2e-4, logits: 5e-4 }

const goldens = listGoldens()

it('finds goldens to compare with', () => {
  expect(goldens.length).toBeGreaterThan(0)
})

describe.each(goldens)('$name $dtype', (place) => {
  const golden = openGolden(place)
  const folder = mkdtempSync(join(tmpdir(), 'coglabel-golden-'))
  let decoder: Decoder

  beforeAll(async () => {
    await compileModel({
      checkpointFolder: golden.checkpointFolder,
      outFolder: join(folder, 'model'),
      weights: 'fp32',
    })
    decoder = await openTracedDecoder(join(folder, 'model'))
  })
  afterAll(async () => {
    await decoder.close()
    rmSync(folder, { recursive: true })
  })

  const rows = golden.cases.flatMap((goldenCase) =>
    goldenCase.rows.map((_, row) => ({ name: `${goldenCase.name} row ${row}`, goldenCase, row })),
  )

  it.each(rows)(
    '$name: every tensor within tolerance, every greedy token equal',
    async ({ goldenCase, row }) => {
      const kept = unpadded(goldenCase, row)
      const pick = (values: number[][]): number[] => kept.map((index) => values[row]?.[index] ?? -1)
      const greedy = goldenCase.greedy[row]?.ids ?? []
      const trace = await traceSequence(decoder, {
        pixels: await pixelsOf(golden, goldenCase, row),
        inputIds: pick(goldenCase.input_ids),
        tokenTypeIds: pick(goldenCase.token_type_ids),
        maxNewTokens: greedy.length,
      })
      await compareTensors({ golden, goldenCase, row, kept, trace })
      expect(trace.greedyIds).toEqual(greedy)
    },
  )

  it.each(
    rows.filter(
      ({ goldenCase, row }) => unpadded(goldenCase, row).length === goldenCase.input_ids[row]?.length,
    ),
  )("$name: expert rule and positions are the reference builder's", ({ goldenCase, row }) => {
    const types = goldenCase.token_type_ids[row] ?? []
    expect(visionExpertMask(types).map(Number)).toEqual(goldenCase.vision_expert_mask[row]?.map(Number))
    expect(sequencePositions(types)).toEqual(goldenCase.position_ids[row])
  })
})

async function pixelsOf(golden: Golden, goldenCase: GoldenCase, row: number): Promise<Float32Array | null> {
  const index = imageIndex(goldenCase, row)
  if (index === undefined) return null
  const { data, shape } = await golden.tensor(`${goldenCase.name}.pixel_values`)
  const size = data.length / (shape[0] ?? 1)
  return data.slice(index * size, (index + 1) * size)
}

async function compareTensors({
  golden,
  goldenCase,
  row,
  kept,
  trace,
}: {
  golden: Golden
  goldenCase: GoldenCase
  row: number
  kept: number[]
  trace: Trace
}): Promise<void> {
  const read = (name: string): ReturnType<Golden['tensor']> => golden.tensor(`${goldenCase.name}.${name}`)
  const index = imageIndex(goldenCase, row)
  if (index !== undefined && trace.imageFeatures !== null) {
    const { data } = await read('image_features')
    const size = trace.imageFeatures.length
    expect(largestDifference(trace.imageFeatures, data.slice(index * size, (index + 1) * size))).toBeLessThan(
      tolerance.imageFeatures,
    )
  }
  const hidden = await read('hidden')
  const [layerCount = 0, , , width = 0] = hidden.shape
  const expectedHidden = Array.from({ length: layerCount }, (_, layer) =>
    takeRows(hidden, { outer: layer, row, kept, width }),
  ).flat()
  expect(largestDifference(trace.hidden, expectedHidden)).toBeLessThan(tolerance.hidden)
  const norm = await read('final_norm')
  expect(largestDifference(trace.finalNorm, takeRows(norm, { row, kept, width }))).toBeLessThan(
    tolerance.logits,
  )
  const logits = await read('last_logits')
  const vocabulary = trace.lastLogits.length
  expect(
    largestDifference(trace.lastLogits, logits.data.slice(row * vocabulary, (row + 1) * vocabulary)),
  ).toBeLessThan(tolerance.logits)
}

/** Rows `kept` of [outer?, B, T, width] at one batch row. */
function takeRows(
  { data, shape }: { data: Float32Array; shape: readonly number[] },
  { outer = 0, row, kept, width }: { outer?: number; row: number; kept: number[]; width: number },
): number[] {
  const [batch = 0, length = 0] = shape.slice(-3)
  return kept.flatMap((index) => {
    const start = ((outer * batch + row) * length + index) * width
    return Array.from(data.subarray(start, start + width))
  })
}

function largestDifference(seen: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(seen.length).toBe(expected.length)
  let largest = 0
  for (let index = 0; index < seen.length; index++)
    largest = Math.max(largest, Math.abs((seen[index] ?? NaN) - (expected[index] ?? NaN)))
  return largest
}
