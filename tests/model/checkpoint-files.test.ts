// Which files of a checkpoint folder are its weights: one, many, an index or two, and what is refused rather than guessed.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../gpu-worker/model/checkpoint.ts'
import {
  configOf,
  encodeTensors,
  randomTensors,
  smallShape,
  writeRandomCheckpoint,
} from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-checkpoint-files-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const tensors = randomTensors(smallShape, 1)
const whole = 'model.safetensors'
const plainIndex = `${whole}.index.json`
const head = 'lm_head.weight'

let folder = ''
let folderCount = 0
beforeEach(() => {
  folder = join(scratch, String(folderCount++))
  mkdirSync(folder)
})

function write(name: string, content: Buffer | object): void {
  writeFileSync(join(folder, name), Buffer.isBuffer(content) ? content : JSON.stringify(content))
}

/** Opens the folder and reads every tensor's name. */
async function namesRead(): Promise<string[]> {
  const checkpoint = await openCheckpoint(folder)
  await checkpoint.close()
  return [...checkpoint.shapes.keys()].toSorted()
}

describe('an index that points to', () => {
  it.each([
    {
      name: 'a path out of the folder',
      target: '../model.safetensors',
      says: /points to "\.\.\/model\.safetensors"; only file names in the same folder/,
    },
    { name: 'an absolute path', target: '/etc/x.safetensors', says: /only file names in the same folder/ },
    {
      name: 'a shard that is not there',
      target: 'model-00002-of-00002.safetensors',
      says: /cannot open the weights file .*model-00002-of-00002/,
    },
  ])('$name is refused', async ({ target, says }) => {
    write('config.json', configOf(smallShape))
    write(whole, encodeTensors(tensors))
    write(plainIndex, { weight_map: { a: whole, b: target } })
    await expect(namesRead()).rejects.toThrow(says)
  })
})

describe('a checkpoint folder', () => {
  it('without a weight_map in its index is refused', async () => {
    write('config.json', configOf(smallShape))
    write(whole, encodeTensors(tensors))
    write(plainIndex, {})
    await expect(namesRead()).rejects.toThrow(/has no weight_map/)
  })

  it('with a tensor in two shards is refused', async () => {
    writeRandomCheckpoint(folder, smallShape)
    write('stray.safetensors', encodeTensors(new Map([[head, { shape: [1], data: new Float32Array(1) }]])))
    await expect(namesRead()).rejects.toThrow(/lm_head\.weight is in two files.*stray/)
  })

  // The reference's loader takes the whole file and does not look at the index.
  it('with one whole set of weights and one in shards is refused', async () => {
    writeRandomCheckpoint(folder, smallShape, { shardCount: 2 })
    write(whole, encodeTensors(tensors))
    await expect(namesRead()).rejects.toThrow(/both model\.safetensors and an index of other files/)
  })

  it('is read by the plain index where others of a second number format lie beside it', async () => {
    writeRandomCheckpoint(folder, smallShape, { shardCount: 2 })
    for (const kind of ['a', 'model.fp16'])
      write(`${kind}.safetensors.index.json`, { weight_map: { x: 'none.safetensors' } })
    expect(await namesRead()).toEqual([...tensors.keys()].toSorted())
  })

  it('is read by an index of another name where there is no plain one', async () => {
    write('config.json', configOf(smallShape))
    write('part.safetensors', encodeTensors(tensors))
    write('stray.safetensors', encodeTensors(tensors))
    write('cogvlm.safetensors.index.json', { weight_map: { [head]: 'part.safetensors' } })
    expect(await namesRead()).toEqual([...tensors.keys()].toSorted())
  })
})
