// --low-memory: the same answers with one stage's weights in memory at a time, and nothing left open.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import { openInTurns } from '../../gpu-worker/engine/residence.ts'
import type { Session } from '../../gpu-worker/engine/session.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const checkpointFolder = fileURLToPath(new URL('../golden/data/v1-tiny-s0/f32', import.meta.url))

it('answers about images and text as the engine that holds everything does, to the last bit', async () => {
  const folder = join(await tempFolder(), 'model')
  await compileModel({ checkpointFolder, outFolder: folder, weights: 'fp32' })
  const held = await answers(folder, false)
  expect(held.flat().length).toBeGreaterThan(40)
  expect(await answers(folder, true)).toEqual(held)
})

async function answers(folder: string, lowMemory: boolean): Promise<number[][]> {
  const decoder = await openDecoder(await openCompiledModel(folder), { lowMemory })
  const bos = await textPrefix(decoder)
  const { imageSize } = decoder.compiled.manifest.vision
  const found: number[][] = []
  for (const image of [1, 2, undefined, 3]) {
    const pixels = Float32Array.from({ length: 3 * imageSize ** 2 }, (_, at) => Math.sin(at * (image ?? 1)))
    const prefix = image === undefined ? bos : await imagePrefix(decoder, bos, pixels)
    const requests = [
      [5, 6, 7],
      [8, 9],
    ].map((tokenIds) => ({ tokenIds, maxNewTokens: 8, sampling: greedySampling, stopIds: [] }))
    const results = await generate(decoder, prefix, { requests })
    found.push(...results.map(({ tokenIds }) => tokenIds), [...prefix.lastLogits].map(Math.fround))
  }
  await decoder.close()
  return found
}

it('has the tower open for one image, the decoder anew after its rows, and nothing at the end', async () => {
  const open = new Map<string, number>()
  const seen: string[] = []
  const opener = (name: string) => (): Promise<Session> => {
    open.set(name, (open.get(name) ?? 0) + 1)
    seen.push(`open ${name}`)
    const close = (): Promise<void> => {
      seen.push(`close ${name}`)
      open.set(name, (open.get(name) ?? 0) - 1)
      return Promise.resolve()
    }
    return Promise.resolve({ inputNames: new Set([name]), run: () => Promise.resolve({}), close })
  }
  const residence = await openInTurns({ openTower: opener('tower'), openDecoder: opener('decoder') })
  const enter = (stage: 'tower' | 'prefill' | 'step'): Promise<void> =>
    residence[stage](({ inputNames }) => {
      seen.push(`${stage} in ${[...inputNames].join()}`)
      return Promise.resolve()
    })
  for (const stage of ['step', 'tower', 'prefill', 'tower', 'prefill', 'step', 'step'] as const)
    await enter(stage)
  await residence.close()
  expect(seen.slice(3)).toEqual(
    [
      ['step in decoder'],
      ['open tower', 'tower in tower', 'close tower'],
      ['prefill in decoder'],
      ['close decoder', 'open tower', 'tower in tower', 'close tower'],
      ['open decoder', 'prefill in decoder'],
      ['close decoder', 'open decoder', 'step in decoder'],
      ['step in decoder'],
      ['close decoder'],
    ].flat(),
  )
  expect([...open.values()]).toEqual([0, 0])
})

it('closes the tower when an image fails in it', async () => {
  const seen: string[] = []
  const session = (name: string): Promise<Session> =>
    Promise.resolve({
      inputNames: new Set<string>(),
      run: () => Promise.resolve({}),
      close: () => {
        seen.push(name)
        return Promise.resolve()
      },
    })
  const residence = await openInTurns({
    openTower: () => session('tower'),
    openDecoder: () => session('decoder'),
  })
  await expect(residence.tower(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(seen).toEqual(['tower', 'tower'])
})
