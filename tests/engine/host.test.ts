// The engine process: it answers as the engine in this process does, and its death loses nothing but time.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { suffixRowBytes } from '../../gpu-worker/engine/cache-budget.ts'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { EngineCrashError } from '../../gpu-worker/engine/contract.ts'
import type { Engine, PromptRequest } from '../../gpu-worker/engine/contract.ts'
import { openEngine } from '../../gpu-worker/engine/engine.ts'
import { openEngineHost } from '../../gpu-worker/engine/host.ts'
import type { EngineHost } from '../../gpu-worker/engine/host.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import { isRunning, untilGone } from '../helpers/processes.ts'
import {
  configOf,
  randomTensors,
  seededUniform,
  smallShape,
  writeCheckpoint,
} from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-host-'))
const modelFolder = join(scratch, 'model')
let host: EngineHost
let local: Engine

beforeAll(async () => {
  const shape = { ...smallShape, hidden: 96, inner: 160, layers: 4, vocab: 320 }
  // The end of the text is out of reach, so that answers are as long as they are asked to be.
  writeCheckpoint(join(scratch, 'checkpoint'), {
    config: { ...configOf(shape), eos_token_id: 319 },
    tensors: randomTensors(shape, 1),
  })
  const tokenizerFolder = fileURLToPath(new URL('../golden/data/tokenizers/v1-320', import.meta.url))
  await compileModel({
    checkpointFolder: join(scratch, 'checkpoint'),
    outFolder: modelFolder,
    weights: 'fp32',
    tokenizerFolder,
  })
  host = await openEngineHost({ modelFolder, threads: 1 })
  local = await openEngine({ modelFolder, threads: 1 })
})
afterAll(async () => {
  await host.close()
  await local.close()
  rmSync(scratch, { recursive: true })
})

function pixels(seed: number): Float32Array {
  const uniform = seededUniform(seed)
  return Float32Array.from({ length: 3 * 28 * 28 }, () => 4 * uniform() - 2)
}

function prompt(question: string, maxNewTokens = 12): PromptRequest {
  return {
    template: 'chat',
    history: [],
    question,
    maxNewTokens,
    sampling: { ...greedySampling, repetitionPenalty: 1.3 },
  }
}

/** Long enough to be killed or cancelled in the middle. */
const longPrompt = prompt('tell me everything', 600)

async function killProcess(of: EngineHost): Promise<void> {
  const { processId } = of
  if (processId === undefined) throw new Error('there is no process to kill')
  process.kill(processId, 'SIGKILL')
  await wait(20)
}

describe('the engine process', () => {
  it('says the same as the engine in this process', async () => {
    const prompts = [
      prompt('what is this'),
      { ...prompt('why', 8), template: 'vqa' as const, history: [{ question: 'a', answer: 'b' }] },
      prompt('', 1),
    ]
    for (const image of [pixels(1), null]) {
      const [theirs, ours] = [await host.openImage(image), await local.openImage(image)]
      expect(await theirs.generate(prompts)).toEqual(await ours.generate(prompts))
      expect(await theirs.generate([])).toEqual([])
      await theirs.close()
      await ours.close()
    }
    expect(host.info).toEqual(local.info)
  })

  it('says when a prompt leaves no room for an answer', async () => {
    const session = await host.openImage(null)
    const [long, short] = await session.generate([prompt('word '.repeat(2000)), prompt('why', 3)])
    expect(long).toMatchObject({ finishReason: 'prompt-too-long', tokenIds: [], text: '' })
    expect(short?.tokenIds).toHaveLength(3)
    await session.close()
  })

  it('says where scores are not numbers, and answers the others', async () => {
    const [bad, good] = [await host.openImage(pixels(1).fill(NaN)), await host.openImage(pixels(1))]
    const [[failed], [fine]] = await Promise.all([
      bad.generate([prompt('what')]),
      good.generate([prompt('what')]),
    ])
    expect(failed).toMatchObject({ tokenIds: [], failure: { code: 'engine-error' } })
    expect(failed?.failure?.message).toMatch(/scores are not numbers.*--weights fp32/)
    expect(fine?.failure).toBeUndefined()
    expect(fine?.tokenIds).toHaveLength(12)
    await Promise.all([bad.close(), good.close()])
  })

  it("passes the runtime's error on as one about the image, and goes on", async () => {
    const folder = join(scratch, 'misfit')
    cpSync(modelFolder, folder, { recursive: true })
    const path = join(folder, 'manifest.json')
    const manifest = JSON.parse(readFileSync(path, 'utf8'))
    // The graph's rows are then not the ones that are fed.
    manifest.vision.patchRows -= 1
    writeFileSync(path, JSON.stringify(manifest))
    const misfit = await openEngineHost({ modelFolder: folder, threads: 1 })
    const error: unknown = await misfit.openImage(pixels(1)).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(Error)
    for (const kind of [UserError, RetryableError, InvariantError, EngineCrashError])
      expect(error).not.toBeInstanceOf(kind)
    const session = await misfit.openImage(null)
    expect((await session.generate([prompt('what')]))[0]?.tokenIds).toHaveLength(12)
    await misfit.close()
  })

  it('with room for one image never waits for itself, whoever died before and whoever asks together', async () => {
    const { manifest } = await openCompiledModel(modelFolder)
    const { vision, language } = manifest
    const rowBytes = suffixRowBytes(language)
    const cacheBytes = (vision.patchRows + 3 + language.maxPositions) * rowBytes
    const tight = await openEngineHost({ modelFolder, threads: 1, cacheBytes })
    const lonely = await tight.openImage(null)
    const dying = lonely.generate([longPrompt])
    await wait(60)
    await killProcess(tight)
    await dying
    // Idle while the process dies, it is opened anew by two requests at once.
    const holder = await tight.openImage(pixels(1))
    await killProcess(tight)
    await wait(100)
    await Promise.all([holder.generate([prompt('what')]), holder.generate([prompt('why')])])
    // The lonely one waits for the opening, which waits for the room of the holder, which asks behind the lonely one.
    const opening = tight.openImage(pixels(2))
    await wait(60)
    const answers = await Promise.all([lonely.generate([prompt('what')]), holder.generate([prompt('what')])])
    expect(answers.flat().map(({ tokenIds }) => tokenIds.length)).toEqual([12, 12])
    // Closed while a request is under way, it gives back what that request opens.
    await killProcess(tight)
    await wait(100)
    const late = holder.generate([prompt('what')])
    await holder.close()
    // Whichever of them a fresh process opened first, the other gets its room in the end.
    const last = opening.then(async (session) => await session.generate([prompt('what')]))
    const ends = await Promise.all([late, last])
    expect(ends.flat().map(({ tokenIds }) => tokenIds.length)).toEqual([12, 12])
    await tight.close()
  }, 60_000)

  it('serves several images at once, each with its own answer', async () => {
    const sessions = await Promise.all([1, 2, 3].map((seed) => host.openImage(pixels(seed))))
    const together = await Promise.all(
      sessions.map((session) => session.generate([prompt('what is this', 16)])),
    )
    const expected = []
    for (const seed of [1, 2, 3])
      expected.push(await (await local.openImage(pixels(seed))).generate([prompt('what is this', 16)]))
    expect(together).toEqual(expected)
    expect(new Set(together.map((answers) => JSON.stringify(answers[0]?.tokenIds))).size).toBe(3)
    await Promise.all(sessions.map((session) => session.close()))
  })

  it('that is killed while it answers is started again, and the answer is the same', async () => {
    const session = await host.openImage(pixels(1))
    const before = host.crashCount
    const expected = await (await local.openImage(pixels(1))).generate([longPrompt])
    const answering = session.generate([longPrompt])
    await wait(60)
    const { processId } = host
    await killProcess(host)
    expect(await answering).toEqual(expected)
    expect(host.crashCount).toBe(before + 1)
    expect(host.processId).not.toBe(processId)
    await session.close()
  })

  it('ends without a word when its host was killed in the middle of an answer', async () => {
    const entry = fileURLToPath(new URL('../../gpu-worker/engine/host-process.ts', import.meta.url))
    const child = fork(entry, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], serialization: 'advanced' })
    const said: Buffer[] = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => said.push(chunk))
    // Answered at once, into a pipe that nobody reads any more.
    for (let id = 0; id < 50; id++) child.send({ kind: 'generate', id, imageId: 999, prompts: [] })
    child.disconnect()
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(Buffer.concat(said).toString()).toBe('')
  })

  it('that is killed while idle costs no image anything', async () => {
    const session = await host.openImage(pixels(2))
    const expected = await session.generate([prompt('what')])
    for (let kills = 0; kills < 3; kills++) {
      await killProcess(host)
      await wait(100)
      expect(await session.generate([prompt('what')])).toEqual(expected)
    }
    await session.close()
  })

  it('that dies twice on one image gives that image up and goes on with the others', async () => {
    const [bad, good] = [await host.openImage(pixels(1)), await host.openImage(pixels(2))]
    const expected = await (await local.openImage(pixels(2))).generate([prompt('what')])
    const answering = bad.generate([longPrompt]).catch((caught: unknown) => caught)
    const waiting = good.generate([prompt('what')])
    await wait(60)
    const first = host.processId
    await killProcess(host)
    for (let tries = 0; host.processId === first && tries < 3000; tries++) await wait(10)
    await wait(60)
    await killProcess(host)
    const error: unknown = await answering
    expect(error).toBeInstanceOf(EngineCrashError)
    expect(error).toHaveProperty('message', expect.stringMatching(/died 2 times on this image \(SIGKILL\)/))
    expect(await waiting).toEqual(expected)
    await Promise.all([bad.close(), good.close()])
  })

  it('is cancelled between two tokens and goes on with what is next', async () => {
    const session = await host.openImage(pixels(1))
    const expected = await session.generate([prompt('what')])
    const controller = new AbortController()
    const answering = session
      .generate([{ ...longPrompt, maxNewTokens: 1900 }], controller.signal)
      .catch((caught: unknown) => caught)
    await wait(60)
    const startMs = performance.now()
    controller.abort(new Error('no longer wanted'))
    expect(await answering).toHaveProperty('message', 'no longer wanted')
    expect(performance.now() - startMs).toBeLessThan(2000)
    await expect(
      session.generate([prompt('what')], AbortSignal.abort(new Error('never wanted'))),
    ).rejects.toThrow('never wanted')
    await expect(host.openImage(pixels(1), AbortSignal.abort(new Error('never wanted')))).rejects.toThrow(
      'never wanted',
    )
    expect(await session.generate([prompt('what')])).toEqual(expected)
    await session.close()
  })
})

describe('an engine process that cannot load', () => {
  it("passes the user's mistake on as one, and ends", async () => {
    const bare = join(scratch, 'bare')
    await compileModel({ checkpointFolder: join(scratch, 'checkpoint'), outFolder: bare, weights: 'fp32' })
    await expect(openEngineHost({ modelFolder: bare })).rejects.toThrow(UserError)
    await expect(openEngineHost({ modelFolder: join(scratch, 'nowhere') })).rejects.toThrow(
      /nowhere is no compiled model/,
    )
    // A process that was left behind would keep its parent from ending.
    const parent = fork(fileURLToPath(new URL('../helpers/host-child.ts', import.meta.url)), [bare], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      execArgv: [],
    })
    const [output] = (await once(parent.stdout ?? parent, 'data')) as [Buffer] // stdout gives buffers
    expect(output.toString().trim()).toBe('UserError')
    parent.disconnect()
    await once(parent, 'exit')
  })

  it('again after a crash says so, and is tried again when it is next needed', async () => {
    const [folder, away] = [join(scratch, 'moving'), join(scratch, 'away')]
    cpSync(modelFolder, folder, { recursive: true })
    const moving = await openEngineHost({ modelFolder: folder, threads: 1 })
    const session = await moving.openImage(pixels(1))
    const expected = await session.generate([prompt('what')])
    renameSync(folder, away)
    await killProcess(moving)
    await wait(100)
    const error: unknown = await session.generate([prompt('what')]).catch((caught: unknown) => caught)
    expect(error instanceof UserError || error instanceof RetryableError).toBe(true)
    renameSync(away, folder)
    expect(await session.generate([prompt('what')])).toEqual(expected)
    await moving.close()
  })
})

describe('the end', () => {
  it('of the host ends the process', async () => {
    const other = await openEngineHost({ modelFolder, threads: 1 })
    const { processId = 0 } = other
    expect(isRunning(processId)).toBe(true)
    await other.close()
    await untilGone(processId)
    await other.close()
  })

  it('of the parent by force ends the process', async () => {
    const parent = fork(fileURLToPath(new URL('../helpers/host-child.ts', import.meta.url)), [modelFolder], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      execArgv: [],
    })
    const [output] = (await once(parent.stdout ?? parent, 'data')) as [Buffer] // stdout gives buffers
    const processId = Number(output.toString())
    expect(isRunning(processId)).toBe(true)
    parent.kill('SIGKILL')
    await untilGone(processId)
  })
})
