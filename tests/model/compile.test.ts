// What compile leaves behind: a whole folder or nothing, for every target and format, within its memory.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTracedDecoder } from '../../cli/trace.ts'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openEngine } from '../../gpu-worker/engine/engine.ts'
import { traceSequence } from '../../gpu-worker/engine/trace.ts'
import type { Trace } from '../../gpu-worker/engine/trace.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import type { CompileProgress } from '../../gpu-worker/model/compile.ts'
import { UserError } from '../../schemas/errors.ts'
import {
  configOf,
  seededUniform,
  smallShape,
  tensorShapes,
  writeCheckpoint,
  writeRandomCheckpoint,
} from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-compile-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const checkpointFolder = join(scratch, 'checkpoint')
writeRandomCheckpoint(checkpointFolder, smallShape)
const secondFolder = join(scratch, 'second')
writeRandomCheckpoint(secondFolder, {
  ...smallShape,
  family: 'cogvlm2',
  kvHeads: 2,
  vision: { ...smallShape.vision, patchSize: 7 },
})

let folderCount = 0

/** A folder of its own, whose parent holds nothing else. */
function freshOut(): string {
  const parent = join(scratch, `out-${folderCount++}`)
  mkdirSync(parent)
  return join(parent, 'model')
}

function freshFile(): string {
  const path = join(scratch, `file-${folderCount++}`)
  writeFileSync(path, '')
  return path
}

function siblings(outFolder: string): string[] {
  return readdirSync(join(outFolder, '..'))
}

function startChild(folders: readonly string[], ...rest: string[]): ReturnType<typeof fork> {
  const entry = fileURLToPath(new URL('../helpers/compile-child.ts', import.meta.url))
  return fork(entry, [...folders, ...rest], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'], execArgv: [] })
}

describe('an interrupted compile', () => {
  it('that is killed leaves nothing under the name, and the next one clears up', async () => {
    const outFolder = freshOut()
    const child = startChild([checkpointFolder, outFolder], 'fp32', 'slow')
    await once(child.stdout ?? child, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(existsSync(outFolder)).toBe(false)
    expect(siblings(outFolder)).toEqual([expect.stringMatching(/^\.model\.partial-\d+$/)])
    await compileModel({ checkpointFolder, outFolder, weights: 'fp32' })
    expect(siblings(outFolder)).toEqual(['model'])
    await openCompiledModel(outFolder)
  })

  it('that is killed leaves the model that was there before', async () => {
    const outFolder = freshOut()
    const { digest } = await compileModel({ checkpointFolder, outFolder, weights: 'fp32' })
    const child = startChild([secondFolder, outFolder], 'fp32', 'slow')
    await once(child.stdout ?? child, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect((await openCompiledModel(outFolder)).manifest.digest).toBe(digest)
  })

  it('that is aborted rejects with the reason and leaves nothing', async () => {
    const outFolder = freshOut()
    const controller = new AbortController()
    let reports = 0
    const onProgress = (): void => {
      if (++reports === 5) controller.abort(new Error('enough'))
    }
    await expect(
      compileModel({ checkpointFolder, outFolder, onProgress, signal: controller.signal }),
    ).rejects.toThrow('enough')
    expect(siblings(outFolder)).toEqual([])
  })

  it('of the same process number, as in a container that was started again, leaves no file in the next model', async () => {
    const outFolder = freshOut()
    const stale = join(outFolder, '..', `.model.partial-${process.pid}`)
    mkdirSync(stale)
    writeFileSync(join(stale, 'tokenizer.model'), 'half written')
    const { files } = await compileModel({ checkpointFolder, outFolder })
    expect(files.map(({ name }) => name)).not.toContain('tokenizer.model')
    expect(siblings(outFolder)).toEqual(['model'])
  })
})

describe('the folder of the result', () => {
  it('replaces an older compiled model', async () => {
    const outFolder = freshOut()
    const first = await compileModel({ checkpointFolder, outFolder, weights: 'fp32' })
    const other = await compileModel({ checkpointFolder: secondFolder, outFolder, weights: 'int8' })
    expect(other.digest).not.toBe(first.digest)
    expect((await openCompiledModel(outFolder)).manifest).toEqual(other)
    expect(siblings(outFolder)).toEqual(['model'])
  })

  it('may be there and empty, and its parents may be missing', async () => {
    const outFolder = freshOut()
    mkdirSync(outFolder)
    await compileModel({ checkpointFolder, outFolder, weights: 'fp32' })
    const deep = join(outFolder, '..', 'a', 'b', 'model')
    await compileModel({ checkpointFolder, outFolder: deep, weights: 'fp32' })
    await openCompiledModel(deep)
  })

  it('that two compiles write at the same moment is whole, and nothing lies beside it', async () => {
    const outFolder = freshOut()
    const children = Array.from({ length: 3 }, () => startChild([checkpointFolder, outFolder], 'int8'))
    const codes = await Promise.all(children.map((child) => once(child, 'exit')))
    expect(codes.map(([code]: unknown[]) => code)).toEqual([0, 0, 0])
    await openCompiledModel(outFolder)
    expect(siblings(outFolder)).toEqual(['model'])
  })

  // Not by permissions: tests may run as a user whom nothing is forbidden.
  it.each([
    { name: 'below a file', folder: () => join(freshFile(), 'model') },
    { name: 'below a device', folder: () => '/dev/null/model' },
    { name: 'of a name that no file can have', folder: () => join(scratch, 'x'.repeat(300)) },
    ...(process.platform === 'linux' ? [{ name: 'where the system lies', folder: () => '/proc/model' }] : []),
  ])('$name is refused with a sentence', async ({ folder }) => {
    const outFolder = folder()
    const error: unknown = await compileModel({ checkpointFolder, outFolder }).catch(
      (caught: unknown) => caught,
    )
    expect(error).toBeInstanceOf(UserError)
    expect(error).toHaveProperty('message', expect.stringContaining(`${outFolder} cannot be written`))
  })

  it.each([
    { name: 'files of the user', files: { 'thesis.txt': 'years of work' } },
    {
      name: 'a manifest.json of something else',
      files: { 'manifest.json': '{"name": "my web app", "icons": []}', 'thesis.txt': '' },
    },
    { name: 'a manifest.json that is no JSON', files: { 'manifest.json': 'hello' } },
  ])('is not touched where it holds $name', async ({ files }) => {
    const outFolder = freshOut()
    mkdirSync(outFolder)
    for (const [name, text] of Object.entries(files)) writeFileSync(join(outFolder, name), text)
    await expect(compileModel({ checkpointFolder, outFolder })).rejects.toThrow(
      /exists and is not a compiled model/,
    )
    for (const [name, text] of Object.entries(files))
      expect(readFileSync(join(outFolder, name), 'utf8')).toBe(text)
  })

  it('is the same, byte for byte, from run to run, and progress adds up', async () => {
    const [one, two] = [freshOut(), freshOut()]
    const seen: CompileProgress[] = []
    const { digest, files } = await compileModel({
      checkpointFolder,
      outFolder: one,
      onProgress: (progress) => seen.push(progress),
    })
    expect((await compileModel({ checkpointFolder, outFolder: two })).digest).toBe(digest)
    expect(seen.at(-1)?.writtenBytes).toBe(seen.at(-1)?.totalBytes)
    for (const { name, bytes } of files) expect(statSync(join(one, name)).size).toBe(bytes)
  })
})

describe('memory', () => {
  it('is bounded by a few of the largest matrices, not by the checkpoint', async () => {
    const wide = {
      ...smallShape,
      hidden: 768,
      heads: 12,
      kvHeads: 12,
      inner: 2048,
      layers: 5,
      vocab: 8000,
      vision: { ...smallShape.vision, width: 64 },
    }
    const folder = join(scratch, 'large')
    // Every tensor shows the same numbers: only sizes matter here.
    const uniform = seededUniform(1)
    const pool = Float32Array.from({ length: 8000 * 768 }, () => uniform() - 0.5)
    const tensors = new Map(
      Object.entries(tensorShapes(wide)).map(([name, shape]) => [
        name,
        {
          shape,
          data: pool.subarray(
            0,
            shape.reduce((product, size) => product * size, 1),
          ),
        },
      ]),
    )
    writeCheckpoint(folder, { config: configOf(wide), tensors, shardCount: 4 })
    const sizeMegabytes =
      readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0) / 1e6
    const peak = async (checkpoint: string): Promise<number> => {
      const child = startChild([checkpoint, freshOut()], 'int8')
      let text = ''
      child.stdout?.on('data', (piece: Buffer) => (text += piece.toString()))
      await once(child, 'close')
      return Number(/peak (\d+)/.exec(text)?.[1])
    }
    const [idle, used] = [await peak(checkpointFolder), await peak(folder)]
    rmSync(folder, { recursive: true })
    // The embedding and the head are the largest: 25 MB in float32 each.
    const largest = (4 * 8000 * 768) / 1e6
    console.info(
      `checkpoint ${sizeMegabytes.toFixed(0)} MB, largest matrix ${largest.toFixed(0)} MB; peak ${used} MB, of which ${idle} MB without weights`,
    )
    expect(sizeMegabytes).toBeGreaterThan(300)
    expect(used - idle).toBeLessThan(8 * largest)
  })
})

const targets = [
  { target: 'cuda', weights: 'fp16', most: 0.02 },
  { target: 'cuda', weights: 'int4', most: 0.6 },
  { target: 'cuda', weights: 'fp32', most: 1e-5 },
  { target: 'webgpu', weights: 'fp16', most: 0.02 },
  { target: 'webgpu', weights: 'int4', most: 0.6 },
  { target: 'webgpu', weights: 'fp32', most: 1e-5 },
] as const

async function traceOn(outFolder: string): Promise<Trace> {
  const uniform = seededUniform(4)
  const decoder = await openTracedDecoder(outFolder)
  try {
    const rows = decoder.compiled.manifest.vision.patchRows + 2
    return await traceSequence(decoder, {
      pixels: Float32Array.from({ length: 3 * 28 * 28 }, () => 4 * uniform() - 2),
      inputIds: [1, ...Array.from({ length: rows }, () => 0), 5, 6, 7, 8],
      tokenTypeIds: [0, ...Array.from({ length: rows }, () => 1), 0, 0, 0, 0],
      maxNewTokens: 4,
    })
  } finally {
    await decoder.close()
  }
}

describe.each([
  { family: 'cogvlm', folder: checkpointFolder },
  { family: 'cogvlm2', folder: secondFolder },
])('GPU targets of $family', ({ folder }) => {
  let expected: Float32Array

  beforeAll(async () => {
    const outFolder = freshOut()
    await compileModel({ checkpointFolder: folder, outFolder, weights: 'fp32' })
    expected = (await traceOn(outFolder)).lastLogits
  })

  // Compiling holds every node against the table of what the provider has. The engine refuses the result here; the
  // graph itself has no node that this CPU lacks, so its numbers can be looked at.
  it.each(targets)(
    '$weights for $target compiles, says where it runs, and is near fp32',
    async ({ target, weights, most }) => {
      const outFolder = freshOut()
      const manifest = await compileModel({ checkpointFolder: folder, outFolder, target, weights })
      expect(manifest).toMatchObject({ target, weights })
      const refusal: unknown = await openEngine({ modelFolder: outFolder }).catch((caught: unknown) => caught)
      expect(refusal).toBeInstanceOf(UserError)
      expect(refusal).toHaveProperty(
        'message',
        expect.stringMatching(new RegExp(`compiled for ${target}.*--target cpu`)),
      )
      const { lastLogits } = await traceOn(outFolder)
      const size = Math.max(...expected.map(Math.abs))
      const error =
        Math.max(...expected.map((value, index) => Math.abs(value - (lastLogits[index] ?? NaN)))) / size
      console.info(`${weights} ${target}: logit error ${error.toExponential(1)} of the largest`)
      expect(error).toBeLessThan(most)
    },
  )
})

it.each([
  { target: 'cpu', weights: 'fp16' },
  { target: 'cuda', weights: 'int8' },
  { target: 'webgpu', weights: 'int8' },
] as const)('$weights for $target does not exist', async ({ target, weights }) => {
  await expect(compileModel({ checkpointFolder, outFolder: freshOut(), target, weights })).rejects.toThrow(
    /does not exist for --target .* choose one of/,
  )
})
