// The cache of packed weights: same answers from it, filled once, no trouble where it cannot be written.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import type { CompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openCachedSession, prepackedFolderName } from '../../gpu-worker/engine/prepacked.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'

const checkpointFolder = fileURLToPath(new URL('../golden/data/v1-tiny-s0/f32', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'coglabel-prepacked-'))
let compiled: CompiledModel

beforeAll(async () => {
  await compileModel({ checkpointFolder, outFolder: join(folder, 'model'), weights: 'fp32' })
  compiled = await openCompiledModel(join(folder, 'model'))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function features(minBytes: number): Promise<Float32Array> {
  const session = await openCachedSession(compiled, { graph: 'vision.onnx', threads: 1, minBytes })
  const pixels = Float32Array.from({ length: 3 * 56 * 56 }, (_, index) => Math.sin(index))
  const { image_features: tensor } = await session.run(
    { pixels: { type: 'float32', data: pixels, dims: [1, 3, 56, 56] } },
    ['image_features'],
  )
  await session.close()
  return tensor?.type === 'float32' ? tensor.data : new Float32Array(0)
}

it('fills the cache once and gives the same numbers from it, outside the digest', async () => {
  const direct = await features(Number.MAX_SAFE_INTEGER)
  expect(direct.length).toBeGreaterThan(0)
  const filling = await features(0)
  const [entry, ...others] = readdirSync(join(compiled.folder, prepackedFolderName))
  expect(others).toEqual([])
  const mapped = await features(0)
  expect(readdirSync(join(compiled.folder, prepackedFolderName))).toEqual([entry])
  expect([...filling]).toEqual([...direct])
  expect([...mapped]).toEqual([...direct])
  await expect(openCompiledModel(compiled.folder)).resolves.toBeDefined()
})

it('loads without the cache where it cannot be made', async () => {
  rmSync(join(compiled.folder, prepackedFolderName), { recursive: true, force: true })
  // A file where the folder should be: no folder can be made below it, whoever runs the test.
  writeFileSync(join(compiled.folder, prepackedFolderName), '')
  expect((await features(0)).length).toBeGreaterThan(0)
})

it('says what to do where the weights shall be mapped and cannot', async () => {
  const asked = openCachedSession(compiled, { graph: 'vision.onnx', minBytes: 0, mustMap: true })
  await expect(asked).rejects.toThrow(
    /--low-memory wants packed weights on disk, and .*\.prepacked cannot take them/,
  )
})
