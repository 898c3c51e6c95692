// The engine as callers open it: what it does where they leave the choice to it.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openEngine } from '../../gpu-worker/engine/engine.ts'
import type { EngineOptions } from '../../gpu-worker/engine/engine.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const checkpointFolder = fileURLToPath(new URL('../../models/scenes-v2', import.meta.url))

describe.each([
  { weights: 'int8', usual: /bit$/ },
  { weights: 'int4', usual: /bit\/kv-int8$/ },
] as const)('how images are cached where weights are $weights', ({ weights, usual }) => {
  it('follows the weights, and is what is asked for where something is', async () => {
    const modelFolder = join(await tempFolder(), 'model')
    await compileModel({ checkpointFolder, outFolder: modelFolder, weights })
    const engineOf = async (options: Partial<EngineOptions>): Promise<string> => {
      const engine = await openEngine({ modelFolder, ...options })
      await engine.close()
      return engine.info.engine
    }
    expect(await engineOf({})).toMatch(usual)
    expect(await engineOf({ cacheFormat: 'fp32' })).toMatch(/bit$/)
    expect(await engineOf({ cacheFormat: 'int8' })).toMatch(/\/kv-int8$/)
  })
})
