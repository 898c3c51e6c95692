// `coglabel trace` as a stranger uses it: a case file in, a tensor file out, the goldens inside; and what is said of bad cases.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runTrace } from '../../cli/trace.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { decodeFloats, encodeSafetensors, openSafetensors } from '../../gpu-worker/model/safetensors.ts'
import { UserError } from '../../schemas/errors.ts'
import { openGolden } from '../golden/golden-case.ts'
import { writeRandomCheckpoint, smallShape } from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-trace-'))
afterAll(() => rmSync(scratch, { recursive: true }))

type Read = Record<string, { shape: readonly number[]; data: Float32Array | BigInt64Array }>

async function readTensors(path: string): Promise<Read> {
  const file = await openSafetensors(path)
  try {
    const read: Read = {}
    for (const tensor of file.tensors.values()) {
      const bytes = await file.readBytes(tensor, 0, tensor.end - tensor.begin)
      const data =
        tensor.storedType === 'I64'
          ? new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
          : decodeFloats(bytes, tensor.storedType, tensor.name)
      read[tensor.name] = { shape: tensor.shape, data }
    }
    return read
  } finally {
    await file.close()
  }
}

let caseCount = 0

/** Writes the case into a folder of its own and runs the verb on it; returns the tensors written. */
async function trace(model: string, content: unknown): Promise<Read> {
  const folder = join(scratch, `case-${caseCount++}`)
  mkdirSync(folder)
  writeFileSync(join(folder, 'case.json'), typeof content === 'string' ? content : JSON.stringify(content))
  const out = join(folder, 'out.safetensors')
  expect(await runTrace([model, '--case', join(folder, 'case.json'), '--out', out])).toBe(0)
  return readTensors(out)
}

function largestDifference(seen: ArrayLike<number | bigint> | undefined, expected: Float32Array): number {
  expect(seen?.length).toBe(expected.length)
  return expected.reduce(
    (largest, value, index) => Math.max(largest, Math.abs(value - Number(seen?.[index] ?? NaN))),
    0,
  )
}

describe('a trace of a golden', () => {
  const golden = openGolden({ name: 'v1-tiny-s0', dtype: 'f32' })
  const model = join(scratch, 'golden')
  beforeAll(() =>
    compileModel({ checkpointFolder: golden.checkpointFolder, outFolder: model, weights: 'fp32' }),
  )

  it.each(['img-chat', 'text-only'])(
    '%s: every tensor under its name, in its shape, within tolerance',
    async (name) => {
      const goldenCase = golden.cases.find((one) => one.name === name)
      const greedy = goldenCase?.greedy[0]?.ids ?? []
      const inputIds = goldenCase?.input_ids[0] ?? []
      const hasImage = goldenCase?.rows[0]?.image !== null
      if (hasImage) {
        const pixels = await golden.tensor(`${name}.pixel_values`)
        writeFileSync(
          join(scratch, 'pixels.safetensors'),
          encodeSafetensors([{ name: 'p', shape: [1, 3, 56, 56], data: pixels.data }]),
        )
      }
      const read = await trace(model, {
        pixel_values: hasImage ? { file: '../pixels.safetensors', tensor: 'p' } : null,
        input_ids: inputIds,
        token_type_ids: goldenCase?.token_type_ids[0],
        position_ids: goldenCase?.position_ids[0],
        max_new_tokens: greedy.length,
      })
      const [layers, width, vocabulary] = [4, 96, 320]
      expect(Object.keys(read).toSorted()).toEqual(
        [
          ...(hasImage ? ['image_features'] : []),
          'hidden',
          'final_norm',
          'last_logits',
          'greedy_ids',
        ].toSorted(),
      )
      if (hasImage) {
        expect(read['image_features']?.shape).toEqual([18, width])
        expect(
          largestDifference(
            read['image_features']?.data,
            (await golden.tensor(`${name}.image_features`)).data,
          ),
        ).toBeLessThan(1e-4)
      }
      expect(read['hidden']?.shape).toEqual([layers, inputIds.length, width])
      expect(
        largestDifference(read['hidden']?.data, (await golden.tensor(`${name}.hidden`)).data),
      ).toBeLessThan(2e-4)
      expect(read['final_norm']?.shape).toEqual([inputIds.length, width])
      expect(
        largestDifference(read['final_norm']?.data, (await golden.tensor(`${name}.final_norm`)).data),
      ).toBeLessThan(5e-4)
      expect(read['last_logits']?.shape).toEqual([vocabulary])
      expect(
        largestDifference(read['last_logits']?.data, (await golden.tensor(`${name}.last_logits`)).data),
      ).toBeLessThan(5e-4)
      expect(read['greedy_ids']?.data).toEqual(BigInt64Array.from(greedy, BigInt))
    },
  )
})

describe('a trace case', () => {
  const model = join(scratch, 'small')
  const placeholders = 6
  const good = {
    pixel_values: { file: '../small.safetensors', tensor: 'pixels' },
    input_ids: [1, ...Array.from({ length: placeholders }, () => 0), 5, 6],
    token_type_ids: [0, ...Array.from({ length: placeholders }, () => 1), 0, 0],
    max_new_tokens: 3,
  }
  const text = { pixel_values: null, input_ids: [1, 5, 6], token_type_ids: [0, 0, 0], max_new_tokens: 3 }

  beforeAll(async () => {
    writeRandomCheckpoint(join(scratch, 'checkpoint'), smallShape)
    await compileModel({ checkpointFolder: join(scratch, 'checkpoint'), outFolder: model, weights: 'fp32' })
    const tensors = [
      { name: 'pixels', shape: [3, 28, 28], data: new Float32Array(3 * 28 * 28).fill(0.5) },
      { name: 'other', shape: [3, 14, 14], data: new Float32Array(3 * 14 * 14) },
    ]
    writeFileSync(join(scratch, 'small.safetensors'), encodeSafetensors(tensors))
  })

  it('counts 24 new tokens where it does not say, none where it says 0, and its own positions where they are the usual ones', async () => {
    const usual = await trace(model, { ...good, position_ids: [0, 1, 2, 2, 2, 2, 3, 4, 5] })
    const implied = await trace(model, good)
    expect(implied).toEqual(usual)
    expect((await trace(model, { ...text, max_new_tokens: undefined }))['greedy_ids']?.shape).toEqual([24])
    expect((await trace(model, { ...text, max_new_tokens: 0 }))['greedy_ids']?.shape).toEqual([0])
    const shifted = await trace(model, { ...good, position_ids: [0, 1, 2, 2, 2, 2, 3, 8, 9] })
    expect(shifted['last_logits']).not.toEqual(implied['last_logits'])
    expect((await trace(model, { ...text, input_ids: [1], token_type_ids: [0] }))['hidden']?.shape).toEqual([
      2, 1, 48,
    ])
  })

  it.each([
    { name: 'that is not JSON', content: '{', says: /is not JSON/ },
    {
      name: 'with a misspelt field',
      content: { ...text, inputIds: [1] },
      says: /is not a trace case.*inputIds/s,
    },
    {
      name: 'without ids',
      content: { ...text, input_ids: [], token_type_ids: [] },
      says: /is not a trace case/,
    },
    {
      name: 'with a token outside the vocabulary',
      content: { ...text, input_ids: [1, 5, 131] },
      says: /token id 131; the vocabulary has 131/,
    },
    {
      name: 'with fewer types than ids',
      content: { ...text, token_type_ids: [0, 0] },
      says: /token_type_ids has 2 elements, input_ids 3/,
    },
    {
      name: 'with fewer positions than ids',
      content: { ...text, position_ids: [0, 1] },
      says: /position_ids has 2 elements, input_ids 3/,
    },
    {
      name: 'with an image and no pixels',
      content: { ...good, pixel_values: null },
      says: /pixel_values is null/,
    },
    {
      name: 'with pixels and no image',
      content: { ...text, pixel_values: good.pixel_values },
      says: /no element of token_type_ids is 1/,
    },
    {
      name: 'with an image of another size of placeholders',
      content: { ...good, input_ids: [1, 0, 0, 5], token_type_ids: [0, 1, 1, 0] },
      says: /one run of 6 right behind bos; seen: 2/,
    },
    {
      name: 'with a missing pixel file',
      content: { ...good, pixel_values: { file: 'none.safetensors', tensor: 'x' } },
      says: /cannot open .*none\.safetensors/,
    },
    {
      name: 'with a missing pixel tensor',
      content: { ...good, pixel_values: { ...good.pixel_values, tensor: 'x' } },
      says: /has no tensor x; it has pixels, other/,
    },
    {
      name: 'with pixels of another size',
      content: { ...good, pixel_values: { ...good.pixel_values, tensor: 'other' } },
      says: /is \[3, 14, 14\]; the model takes \[3, 28, 28\]/,
    },
  ])('$name: a clear error', async ({ content, says }) => {
    const error: unknown = await trace(model, content).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(UserError)
    expect(error).toHaveProperty('message', expect.stringMatching(says))
  })

  it('that is missing, or a wrong command line: a clear error', async () => {
    await expect(runTrace([model, '--case', join(scratch, 'none.json'), '--out', 'x'])).rejects.toThrow(
      /cannot read .*none\.json/,
    )
    await expect(runTrace([model])).rejects.toThrow(/takes one compiled folder, --case and --out/)
    await expect(runTrace([join(scratch, 'checkpoint'), '--case', 'x', '--out', 'y'])).rejects.toThrow(
      /is no compiled model/,
    )
  })
})
