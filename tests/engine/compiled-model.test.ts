// Compiled folders that were changed, cut short or made by another version: what the user is told.
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openEngine } from '../../gpu-worker/engine/engine.ts'
import { detectKernel } from '../../gpu-worker/engine/kernel.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { UserError } from '../../schemas/errors.ts'
import { manifestVersion } from '../../schemas/model-manifest.ts'
import { smallShape, writeRandomCheckpoint } from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-compiled-'))
afterAll(() => rmSync(scratch, { recursive: true }))
const model = join(scratch, 'model')
let copies = 0

beforeAll(async () => {
  writeRandomCheckpoint(join(scratch, 'checkpoint'), smallShape)
  await compileModel({ checkpointFolder: join(scratch, 'checkpoint'), outFolder: model })
})

/** A copy of the model, broken in one way. */
function broken(change: (folder: string) => void): string {
  const folder = join(scratch, `copy-${copies++}`)
  cpSync(model, folder, { recursive: true })
  change(folder)
  return folder
}

function editManifest(folder: string, change: Record<string, unknown>): void {
  const path = join(folder, 'manifest.json')
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...change })) // an object, the compiler wrote it
}

function flipByte(path: string): void {
  const bytes = readFileSync(path)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  writeFileSync(path, bytes)
}

const cases: { name: string; folder: () => string; says: RegExp }[] = [
  {
    name: 'no folder',
    folder: () => join(scratch, 'nowhere'),
    says: /nowhere is no compiled model.*coglabel compile/,
  },
  {
    name: 'a checkpoint instead',
    folder: () => join(scratch, 'checkpoint'),
    says: /is no compiled model.*coglabel compile/,
  },
  {
    name: 'a manifest of the future',
    folder: () => broken((folder) => editManifest(folder, { v: 99, surprise: true })),
    says: /version 99, made by a newer coglabel; this one reads version \d/,
  },
  {
    name: 'a manifest without its fields',
    folder: () =>
      broken((folder) => writeFileSync(join(folder, 'manifest.json'), `{"v": ${manifestVersion}}`)),
    says: /not a valid manifest; compile the model again/,
  },
  {
    name: 'a manifest of an older version',
    folder: () => broken((folder) => writeFileSync(join(folder, 'manifest.json'), '{"v": 2}')),
    says: /version 2, made by an older coglabel; .* Compile the checkpoint again/,
  },
  {
    name: 'a manifest cut short',
    folder: () => broken((folder) => truncateSync(join(folder, 'manifest.json'), 100)),
    says: /is not JSON; compile the model again/,
  },
  {
    name: 'a manifest that points out of the folder',
    folder: () =>
      broken((folder) =>
        editManifest(folder, { graphs: { vision: '../vision.onnx', decoder: 'decoder.onnx' } }),
      ),
    says: /not a valid manifest/,
  },
  {
    name: 'a missing file',
    folder: () => broken((folder) => rmSync(join(folder, 'decoder.weights'))),
    says: /decoder\.weights has gone, the manifest says \d+ bytes/,
  },
  {
    name: 'a file cut short',
    folder: () => broken((folder) => truncateSync(join(folder, 'decoder.weights'), 100)),
    says: /decoder\.weights has 100 bytes, the manifest says/,
  },
  {
    name: 'one bit of the weights flipped',
    folder: () => broken((folder) => flipByte(join(folder, 'vision.weights'))),
    says: /vision\.weights has the digest .*changed or damaged/,
  },
  {
    name: 'one bit of a graph flipped',
    folder: () => broken((folder) => flipByte(join(folder, 'decoder.onnx'))),
    says: /decoder\.onnx has the digest .*changed or damaged/,
  },
]

describe('a compiled folder', () => {
  it.each(cases)('$name: a clear error', async ({ folder, says }) => {
    const error: unknown = await openCompiledModel(folder()).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(UserError)
    expect(error).toHaveProperty('message', expect.stringMatching(says))
  })

  it('without a tokenizer traces but does not label, and says which to fetch', async () => {
    await openCompiledModel(model)
    await expect(openEngine({ modelFolder: model })).rejects.toThrow(UserError)
    await expect(openEngine({ modelFolder: model })).rejects.toThrow(
      /without a tokenizer.*lmsys\/vicuna-7b-v1\.5.*--tokenizer FOLDER/,
    )
  })

  it('can be moved', async () => {
    const folder = broken(() => undefined)
    expect((await openCompiledModel(folder)).manifest).toEqual((await openCompiledModel(model)).manifest)
  })
})

describe('the kernel of this CPU', () => {
  it('is one of the known classes, and says so where it is not the full one', async () => {
    const kernel = await detectKernel(await openCompiledModel(model))
    expect(kernel.name).toMatch(/^int8-(8bit|7bit)$/)
    expect(kernel.notice === undefined).toBe(kernel.name === 'int8-8bit')
    const levels = kernel.name === 'int8-8bit' ? 127 : 63
    expect(kernel.feeds['activation_levels']?.data).toEqual(Float32Array.of(levels))
    expect(kernel.feeds['activation_zero']?.data).toEqual(Uint8Array.of(levels + 1))
  })

  it('does not matter to a model without integer products', async () => {
    const outFolder = join(scratch, 'fp32')
    await compileModel({ checkpointFolder: join(scratch, 'checkpoint'), outFolder, weights: 'fp32' })
    expect(await detectKernel(await openCompiledModel(outFolder))).toEqual({ name: 'fp32', feeds: {} })
  })
})
