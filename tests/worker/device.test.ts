// A worker whose model was compiled for a GPU that is not there: it says so and takes no message.
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { deviceProblem } from '../../gpu-worker/engine/device.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { openOnItsDevice } from '../../gpu-worker/worker.ts'
import { repositoryRoot } from '../architecture/source-tree.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const here = (await deviceProblem('cuda')) === null

test.skipIf(here)('a model for CUDA is not run on the CPU in silence', async () => {
  const outFolder = join(await tempFolder(), 'model')
  const checkpointFolder = join(repositoryRoot, 'models/scenes-v2')
  await compileModel({ checkpointFolder, outFolder, target: 'cuda', weights: 'fp16' })
  await expect(openOnItsDevice(outFolder)).rejects.toThrow(/cuda/i)
})
