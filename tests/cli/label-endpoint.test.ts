// `coglabel label --endpoint` as a process, against a server on loopback that speaks the protocol.
import { spawn } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { parseLabelFlags } from '../../cli/label-flags.ts'
import { parsePlanFlags } from '../../cli/plan-flags.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { RunConfig } from '../../schemas/run-config.ts'
import { complaint, completion, type Reply, startChatServer, wordsOf } from '../helpers/chat-server.ts'
import { writeImages } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const secret = 'sk-a-secret-that-nobody-sees'
const model = 'Qwen2.5-VL-7B-Instruct'

async function label(args: readonly string[], environment: Record<string, string> = {}) {
  const child = spawn(process.execPath, [main, 'label', ...args], { env: { ...process.env, ...environment } })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (said.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said.stderr += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => {
    child.on('close', resolve)
  })
  return { code, ...said }
}

async function images(count: number): Promise<{ src: string; out: string }> {
  const folder = await tempFolder()
  await writeImages(join(folder, 'in'), count)
  return { src: join(folder, 'in'), out: join(folder, 'out') }
}

async function readRecords(out: string): Promise<LabelRecord[]> {
  const lines = (await readFile(join(out, 'labels.jsonl'), 'utf8')).trimEnd().split('\n')
  return lines.map((line) => LabelRecord.parse(JSON.parse(line)))
}

/** Every byte below a folder, gzip taken off. */
async function readAll(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const contents = files.map(async ({ parentPath, name }) => {
    const bytes = await readFile(join(parentPath, name))
    return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes).toString() : bytes.toString()
  })
  return (await Promise.all(contents)).join('\n')
}

/** What a model of the dialect says to the tasks' questions; pictures of 8 pixels are sent with 56. */
function sayThings(words: string): Reply {
  if (words.startsWith('Where is')) return '[{"bbox_2d": [14, 28, 28, 56], "label": "dog"}]'
  if (words.includes('"caption"'))
    return '{"caption": "A dog.", "objects": [{"label": "dog", "bbox_2d": [0, 0, 28, 56]}]}'
  return 'A dog on a lawn, seen from afar in the evening.'
}

describe('coglabel label --endpoint', () => {
  test('labels with a model that a server has, boxes and all, and says where images go', async () => {
    const server = await startChatServer({ models: [model], say: (call) => sayThings(wordsOf(call)) })
    const { src, out } = await images(3)
    const args = [src, '--out', out, '--endpoint', server.url, '--tasks', 'caption,grounded-caption']
    const ended = await label([...args, '--ground', 'the dog'])
    expect(ended).toMatchObject({ code: 0 })
    expect(ended.stderr).toContain(`images are sent to ${server.host}, to its model ${model}`)
    const records = await readRecords(out)
    expect(records).toHaveLength(9)
    const [ground] = records.filter(({ task }) => task === 'ground')
    expect(ground).toMatchObject({
      output: { phrase: 'the dog', boxes: [[0.25, 0.5, 0.5, 1]] },
      raw: '[{"bbox_2d": [14, 28, 28, 56], "label": "dog"}]',
      usage: { promptTokens: 321, imageTokens: 0, outputTokens: 7 },
      model: { name: model, host: server.host, engine: `endpoint/${server.host}/qwen2.5-vl` },
    })
    expect(records.find(({ task }) => task === 'grounded-caption')?.output).toEqual({
      text: 'A dog.',
      phrases: [{ text: 'A dog', start: 0, end: 5, boxes: [[0, 0, 0.5, 1]] }],
    })
    const config = RunConfig.parse(JSON.parse(await readFile(join(out, 'config.json'), 'utf8')))
    expect(config.model).toMatchObject({ name: model, host: server.host, weights: 'remote' })
    const asked = server.chats.length
    expect(await label([...args, '--ground', 'the dog'])).toMatchObject({ code: 0 })
    expect(server.chats).toHaveLength(asked)
  })

  test('keeps the key out of everything that is written or said', async () => {
    const say = (words: string): Reply =>
      words.startsWith('Where')
        ? complaint(400, `bad request of Bearer ${secret}`)
        : { body: completion(`Your key is ${secret}, and here is a dog on a lawn.`) }
    const server = await startChatServer({
      models: [model],
      key: secret,
      say: (call) => say(wordsOf(call)),
    })
    const { src, out } = await images(2)
    const keyFile = join(await tempFolder(), 'key')
    await writeFile(keyFile, `${secret}\n`)
    const args = [src, '--out', out, '--endpoint', server.url, '--tasks', 'caption', '--checks', 'none']
    const ended = await label([...args, '--ground', 'the dog', '--endpoint-key-file', keyFile])
    expect(ended.code).toBe(3)
    const records = await readRecords(out)
    expect(records.map(({ task, status }) => `${task} ${status}`)).toEqual([
      'caption ok',
      'ground failed',
      'caption ok',
      'ground failed',
    ])
    expect(records[1]?.error).toEqual({
      code: 'engine-error',
      message: `${server.host} answered 400: "bad request of Bearer [key]"`,
    })
    const kept = await readAll(out)
    expect(kept).toContain('Your key is [key]')
    expect(kept + ended.stdout + ended.stderr).not.toContain(secret)
  })

  test('keeps what is no answer as a failed record with its words, and asks again with --retry-failed', async () => {
    let isBroken = true
    const server = await startChatServer({
      models: [model],
      say: (_, turn) =>
        isBroken && turn === 0 ? { body: '{"choices": []}' } : 'A dog on a lawn, from afar.',
    })
    const { src, out } = await images(3)
    const args = [src, '--out', out, '--endpoint', server.url, '--tasks', 'caption']
    expect((await label([...args, '--endpoint-concurrency', '1'])).code).toBe(3)
    const failed = (await readRecords(out)).filter(({ status }) => status === 'failed')
    expect(failed).toMatchObject([
      { raw: '{"choices": []}', finishReason: null, error: { code: 'engine-error' } },
    ])
    isBroken = false
    expect((await label([...args, '--retry-failed'])).code).toBe(0)
    expect(server.chats).toHaveLength(4)
  })

  test('ends when the key stops working, keeps what is done, and goes on with another', async () => {
    let isValid = true
    const server = await startChatServer({
      models: [model],
      say: (_, turn) => {
        if (turn === 2) isValid = false
        return isValid ? 'A dog on a lawn, from afar.' : complaint(401, 'expired')
      },
    })
    const { src, out } = await images(5)
    const args = [src, '--out', out, '--endpoint', server.url, '--tasks', 'caption']
    const ended = await label([...args, '--endpoint-concurrency', '1'], { COGLABEL_ENDPOINT_KEY: secret })
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(/answered 401: "expired"; the key may not ask for/)
    isValid = true
    expect((await label(args)).code).toBe(0)
    expect((await readRecords(out)).map(({ status }) => status)).toEqual(Array(5).fill('ok'))
    expect(server.chats).toHaveLength(6)
  })

  test('stops when the server answers nothing but errors, and fills no run with failures', async () => {
    const server = await startChatServer({ models: [model], say: () => complaint(400, 'no vision here') })
    const { src, out } = await images(12)
    const ended = await label([src, '--out', out, '--endpoint', server.url, '--tasks', 'caption'])
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(/failed on 8 images in a row.*no vision here/)
    await expect(readFile(join(out, 'labels.jsonl'), 'utf8')).rejects.toThrow('ENOENT')
  })
})

describe('the flags of an endpoint', () => {
  test.each([
    [['--endpoint-model', 'x'], /--endpoint-model is about another server; add --endpoint URL/],
    [['--endpoint', 'http://h/v1', '--model', 'm'], /--model is run here and --endpoint elsewhere/],
    [['--endpoint', 'http://h/v1', '--endpoint-concurrency', '0'], /--endpoint-concurrency is "0"/],
    [['--endpoint', 'http://h/v1', '--endpoint-timeout', 'x'], /--endpoint-timeout is "x"/],
  ])('%j are refused', (flags, expected) => {
    expect(() => parseLabelFlags(['in', '--out', 'o', ...flags])).toThrow(expected)
    expect(() => parsePlanFlags(['in', ...flags])).toThrow(expected)
  })

  test('do not go with a plan of workers in the cloud', () => {
    const flags = ['--cloud', '--images', '9', '--endpoint', 'http://h/v1']
    expect(() => parsePlanFlags(flags)).toThrow(/leave --cloud or --endpoint out/)
  })
})
