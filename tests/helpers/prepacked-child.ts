// Runs the tower of MODEL from its cache of packed weights and prints what it says of one image: for tests of weights
// that may end the process.
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openCachedSession } from '../../gpu-worker/engine/prepacked.ts'

const compiled = await openCompiledModel(process.argv[2] ?? '')
const session = await openCachedSession(compiled, { graph: 'vision.onnx', threads: 1, minBytes: 0 })
const side = compiled.manifest.vision.imageSize
const pixels = Float32Array.from({ length: 3 * side * side }, (_, index) => Math.sin(index))
const { image_features: features } = await session.run(
  { pixels: { type: 'float32', data: pixels, dims: [1, 3, side, side] } },
  ['image_features'],
)
console.log(JSON.stringify(features?.type === 'float32' ? [...features.data] : null))
await session.close()
