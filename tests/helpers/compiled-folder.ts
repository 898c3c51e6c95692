// A folder that reads as a compiled model and holds noise: for what moves models and does not run them.
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { digestText, manifestFileName, manifestVersion, ModelManifest } from '../../schemas/model-manifest.ts'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { seededRandom } from './seeded-random.ts'

type Sizes = Readonly<Record<string, number>>

/** Writes files of these sizes and their manifest. */
export async function writeCompiledFolder(folder: string, sizes: Sizes, name = 'noise') {
  await mkdir(folder, { recursive: true })
  const random = seededRandom(7)
  const files = await Promise.all(
    Object.entries(sizes).map(async ([file, sizeBytes]) => {
      const bytes = Uint8Array.from({ length: sizeBytes }, () => Math.floor(random() * 256))
      await writeFile(join(folder, file), bytes)
      return { name: file, bytes: sizeBytes, sha256: createHash('sha256').update(bytes).digest('hex') }
    }),
  )
  const manifest = ModelManifest.parse({
    v: manifestVersion,
    name,
    family: 'cogvlm',
    digest: createHash('sha256').update(digestText(files)).digest('hex'),
    licence: 'none',
    target: 'cpu',
    weights: 'int8',
    template: 'chat',
    capabilities: ['caption'],
    vision: { imageSize: 8, patchRows: 1, hiddenSize: 4, mean: [0, 0, 0], std: [1, 1, 1] },
    language: {
      hiddenSize: 4,
      layerCount: 1,
      headCount: 1,
      kvHeadCount: 1,
      headDim: 4,
      vocabSize: 8,
      maxPositions: 8,
    },
    rotary: { theta: 1, mode: 'fp32', inverseFrequencies: [1, 1] },
    tokens: { bos: 0, eos: [1], placeholder: 2 },
    tokenizer: null,
    graphs: { vision: 'vision.onnx', decoder: 'decoder.onnx' },
    trace: { layers: [], finalNorm: 'norm' },
    quantized: [],
    files,
    source: { config: {}, compiler: 'test' },
  })
  await writeFile(join(folder, manifestFileName), JSON.stringify(manifest))
  return manifest
}

/** The same bytes under the same names, as the engine would accept them. */
export async function expectSameModel(folder: string, original: string): Promise<void> {
  const { manifest } = await openCompiledModel(folder)
  for (const { name } of [...manifest.files, { name: manifestFileName }]) {
    const [left, right] = await Promise.all([readFile(join(folder, name)), readFile(join(original, name))])
    if (!left.equals(right)) throw new Error(`${name} differs`)
  }
}
