// The cache of packed weights: same answers from it, filled once, no trouble where it cannot be written.
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import type { CompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openCachedSession, prepackedFolderName } from '../../gpu-worker/engine/prepacked.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { smallShape, writeRandomCheckpoint } from '../helpers/random-checkpoint.ts'

const checkpointFolder = fileURLToPath(new URL('../golden/data/v1-tiny-s0/f32', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'coglabel-prepacked-'))
let compiled: CompiledModel

beforeAll(async () => {
  await compileModel({ checkpointFolder, outFolder: join(folder, 'model'), weights: 'fp32' })
  compiled = await openCompiledModel(join(folder, 'model'))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function features(minBytes: number, model = compiled): Promise<Float32Array> {
  const session = await openCachedSession(model, { graph: 'vision.onnx', threads: 1, minBytes })
  const side = model.manifest.vision.imageSize
  const pixels = Float32Array.from({ length: 3 * side * side }, (_, index) => Math.sin(index))
  const { image_features: tensor } = await session.run(
    { pixels: { type: 'float32', data: pixels, dims: [1, 3, side, side] } },
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

// Matrices of this width are packed, and end off any boundary that the processor's wide loads want.
it('gives the same numbers where sizes are odd, and mapped weights begin on pages', async () => {
  const vision = { ...smallShape.vision, width: 60, heads: 3, inner: 4501 }
  writeRandomCheckpoint(join(folder, 'odd'), { ...smallShape, vision })
  const modelFolder = join(folder, 'odd-model')
  await compileModel({ checkpointFolder: join(folder, 'odd'), outFolder: modelFolder, weights: 'fp32' })
  const direct = await features(Number.MAX_SAFE_INTEGER, await openCompiledModel(modelFolder))
  const child = fileURLToPath(new URL('../helpers/prepacked-child.ts', import.meta.url))
  // It fills the cache and then finds it filled.
  for (const _run of [1, 2]) {
    const { stdout } = await promisify(execFile)(process.execPath, [child, modelFolder])
    expect(JSON.parse(stdout)).toEqual([...direct])
  }
  const [entry = ''] = readdirSync(join(modelFolder, prepackedFolderName))
  const weights = join(modelFolder, prepackedFolderName, entry, 'vision.weights')
  expect(statSync(weights).size).toBeGreaterThan(4 * 4501 * 60)
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
