// The endpoint engine against a real server on loopback that speaks the protocol, and breaks it.
import { describe, expect, test } from 'vitest'
import type { Picture, PromptRequest } from '../../../gpu-worker/engine/contract.ts'
import type { RetrySettings } from '../../../gpu-worker/engine/endpoint/backoff.ts'
import { type EndpointOptions, openEndpoint } from '../../../gpu-worker/engine/endpoint/endpoint.ts'
import { greedySampling } from '../../../schemas/sampling.ts'
import { type ChatCall, complaint, completion, startChatServer, wordsOf } from '../../helpers/chat-server.ts'

const quick: RetrySettings = {
  attempts: 4,
  timeouts: 2,
  firstDelayMs: 4,
  maxDelayMs: 16,
  maxRetryAfterMs: 200,
}
const capabilities = { plain: ['caption', 'qa'], boxes: ['ground'] }
const picture: Picture = { bytes: Buffer.from('a jpeg'), mime: 'image/jpeg', width: 560, height: 280 }
const secret = 'sk-secret+never.seen'

const prompt = (question: string, more: Partial<PromptRequest> = {}): PromptRequest => ({
  template: 'chat',
  history: [],
  question,
  maxNewTokens: 32,
  sampling: greedySampling,
  ...more,
})

const open = async (url: string, options: Partial<EndpointOptions> = {}) =>
  await openEndpoint({ url, retry: quick, capabilities, ...options })

async function ask(url: string, prompts: readonly PromptRequest[], options: Partial<EndpointOptions> = {}) {
  const engine = await open(url, options)
  return await (await engine.openImage(picture)).generate(prompts)
}

describe('a request', () => {
  test('shows the image first, says what is asked, and leaves out what is at its neutral value', async () => {
    const server = await startChatServer({ say: () => ' A dog. ' })
    const history = [{ question: 'What?', answer: 'A dog.' }]
    const answers = await ask(server.url, [prompt('Which colour?', { history })])
    expect(answers).toEqual([
      {
        promptText: 'Which colour?',
        text: 'A dog.',
        tokenIds: [],
        finishReason: 'stop',
        usage: { promptTokens: 321, imageTokens: 0, outputTokens: 7 },
      },
    ])
    expect(server.chats).toEqual([
      {
        model: 'tiny-vl',
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image_url', image_url: { url: `data:image/jpeg;base64,${btoa('a jpeg')}` } },
              { type: 'text', text: 'What?' },
            ],
          },
          { role: 'assistant', content: 'A dog.' },
          { role: 'user', content: 'Which colour?' },
        ],
        max_tokens: 32,
        temperature: 0,
        stream: false,
      },
    ])
  })

  test('carries the key and the sampling that differs', async () => {
    const server = await startChatServer({ key: secret, say: () => 'Yes' })
    const sampling = { temperature: 0.5, topK: 10, topP: 0.9, repetitionPenalty: 1.1, seed: 4_000_000_000 }
    const form = { kind: 'yes-no' } as const
    await ask(server.url, [prompt('Is it red?', { sampling, form })], { key: `${secret}\n` })
    expect(server.chats[0]).toMatchObject({
      temperature: 0.5,
      top_k: 10,
      top_p: 0.9,
      repetition_penalty: 1.1,
      seed: 4_000_000_000 - 2 ** 31,
    })
    expect(wordsOf(server.chats[0]!)).toBe('Is it red?\nAnswer yes or no.')
    expect(server.calls.map(({ headers }) => headers['authorization'])).toEqual([
      `Bearer ${secret}`,
      `Bearer ${secret}`,
    ])
  })

  test('asks for boxes in the dialect and gives them as tasks read them, the raw words kept', async () => {
    const said = '[{"bbox_2d": [56, 28, 280, 140], "label": "dog"}]'
    const server = await startChatServer({ models: ['Qwen2.5-VL-7B-Instruct'], say: () => said })
    const form = { kind: 'boxes', text: 'absence' } as const
    const [answer] = await ask(server.url, [prompt('Where is the dog?', { form })])
    expect(answer).toMatchObject({ text: '[[100,100,500,500]]', raw: said, repairs: [] })
    expect(answer?.promptText).toBe(
      'Where is the dog?\nAnswer with JSON only: [{"bbox_2d": [x0, y0, x1, y1], "label": "its name"}], boxes in pixels of the image, or [] if it is not there.',
    )
  })

  test('takes its text from parts, and tokens of the image where the server counts them', async () => {
    const body = JSON.stringify({
      ...JSON.parse(
        completion([
          { type: 'text', text: 'A ' },
          { type: 'text', text: 'dog' },
        ]),
      ),
      usage: { prompt_tokens: 300, completion_tokens: 2, prompt_tokens_details: { image_tokens: 256 } },
    })
    const server = await startChatServer({ say: () => ({ body }) })
    const [answer] = await ask(server.url, [prompt('What?')])
    expect(answer).toMatchObject({
      text: 'A dog',
      usage: { promptTokens: 44, imageTokens: 256, outputTokens: 2 },
    })
  })
})

describe('a fault that passes', () => {
  test.each([
    ['429', complaint(429, 'slow down')],
    ['500', complaint(500, 'oops')],
    ['503 that is no JSON', { status: 503, body: '<html>' }],
    ['cut connection', { body: completion('A do'), cut: true }],
    ['answer that does not come in time', { hang: true }],
  ])('is tried again: %s', async (_, fault) => {
    const server = await startChatServer({ say: (__, turn) => (turn === 0 ? fault : 'A dog.') })
    const [answer] = await ask(server.url, [prompt('What?')], { timeoutMs: 300 })
    expect(answer).toMatchObject({ text: 'A dog.', finishReason: 'stop' })
    expect(server.chats).toHaveLength(2)
  })

  test('lets every request rest for as long as Retry-After says', async () => {
    const startMs = performance.now()
    const cameMs: number[] = []
    const server = await startChatServer({
      say: (_, turn) => {
        cameMs.push(performance.now() - startMs)
        return turn === 0 ? complaint(429, 'slow down', { 'retry-after': '0.15' }) : 'A dog.'
      },
    })
    const engine = await open(server.url, { concurrency: 2 })
    const session = await engine.openImage(picture)
    await session.generate([prompt('1'), prompt('2')])
    const restedMs = performance.now()
    await session.generate([prompt('3')])
    expect(cameMs).toHaveLength(4)
    expect(Math.max(...cameMs.slice(0, 3)) - cameMs[0]!).toBeGreaterThan(140)
    expect(performance.now() - restedMs).toBeLessThan(140)
  })

  test('that never passes fails its own prompt only, with what the server said', async () => {
    const server = await startChatServer({
      say: (call) => (wordsOf(call) === 'bad' ? complaint(500, 'CUDA out of memory') : 'A dog.'),
    })
    const [good, bad] = await ask(server.url, [prompt('good'), prompt('bad')])
    expect(good).toMatchObject({ text: 'A dog.' })
    expect(bad).toMatchObject({
      text: '',
      failure: {
        code: 'engine-error',
        message: `${server.host} answered 500: "CUDA out of memory"`,
      },
    })
    expect(server.chats.filter((call) => wordsOf(call) === 'bad')).toHaveLength(quick.attempts)
  })
})

describe('an answer that is none', () => {
  test.each([
    ['malformed JSON', { body: '{"choices": [{"mess' }, 'engine-error', '{"choices": [{"mess'],
    ['a web page', { body: '<html>Welcome</html>' }, 'engine-error', '<html>Welcome</html>'],
    ['no choices', { body: '{"choices": []}' }, 'engine-error', '{"choices": []}'],
    [
      'a refusal',
      { body: completion(null, { message: { content: null, refusal: 'I will not.' } }) },
      'answer-unparsable',
      'I will not.',
    ],
    [
      'a filtered one',
      { body: completion('A d', { finish_reason: 'content_filter' }) },
      'answer-unparsable',
      'A d',
    ],
    [
      'one filtered whole',
      { body: completion(null, { finish_reason: 'content_filter' }) },
      'answer-empty',
      '',
    ],
    ['an image that is refused', complaint(400, 'image is not supported'), 'engine-error', ''],
    [
      'a prompt that is too long',
      complaint(400, 'exceeds the maximum context length of 4096'),
      'prompt-too-long',
      '',
    ],
    ['a body without end', { body: 'x'.repeat(9_000_000) }, 'engine-error', ''],
  ])('is a failure with what there is of it: %s', async (_, reply, ...[code, text]) => {
    const server = await startChatServer({ say: () => reply })
    const [answer] = await ask(server.url, [prompt('What?')])
    expect(answer).toMatchObject({ text, failure: { code } })
    expect(server.chats).toHaveLength(1)
  })

  test('is timed out when none comes, after few tries', async () => {
    const server = await startChatServer({ say: () => ({ hang: true }) })
    const [answer] = await ask(server.url, [prompt('What?')], { timeoutMs: 60 })
    expect(answer?.failure).toEqual({
      code: 'timed-out',
      message: `${server.host} did not answer: no whole answer within 0.06 s`,
    })
    expect(server.chats).toHaveLength(quick.timeouts)
  })

  test('is cut when it is very long', async () => {
    const server = await startChatServer({ say: () => 'word '.repeat(100_000) })
    const [answer] = await ask(server.url, [prompt('What?')])
    expect(answer?.text).toHaveLength(64 * 1024)
    expect(answer).toMatchObject({ finishReason: 'length', repairs: ['cut an answer of 499999 characters'] })
  })
})

describe('what no other image would fare better with ends the run', () => {
  test.each([
    [
      'an unknown model',
      complaint(404, 'The model `x` does not exist.'),
      /answered 404: "The model `x` does not exist\."; it has no model "x" or nothing at \/v1\/chat\/completions; it lists "tiny-vl", "other": give one of them with --endpoint-model/,
    ],
    ['a key without rights', complaint(403, 'not allowed'), /403.*COGLABEL_ENDPOINT_KEY/],
    ['an empty account', complaint(402, 'no credit'), /402.*billing/],
    [
      'an empty account, as OpenAI says it',
      { status: 429, body: '{"error": {"message": "quota", "code": "insufficient_quota"}}' },
      /429.*billing/,
    ],
    [
      'a server that sends on',
      { status: 307, headers: { location: 'http://elsewhere/v1' } },
      /sends on to http:\/\/elsewhere\/v1/,
    ],
  ])('%s', async (_, reply, expected) => {
    const server = await startChatServer({ models: ['tiny-vl', 'other'], say: () => reply })
    await expect(ask(server.url, [prompt('1'), prompt('2')], { model: 'x' })).rejects.toThrow(expected)
    await expect(ask(server.url, [prompt('1')], { model: 'x' })).rejects.toHaveProperty('name', 'UserError')
  })
})

describe('opening', () => {
  test('takes the only model, and says where images go', async () => {
    const server = await startChatServer({ models: ['Qwen2.5-VL-7B-Instruct'], say: () => '' })
    const { info } = await open(server.url)
    expect(info).toMatchObject({
      model: { name: 'Qwen2.5-VL-7B-Instruct', weights: 'remote', licence: '', host: server.host },
      engine: `endpoint/${server.host}/qwen2.5-vl`,
      capabilities: ['caption', 'qa', 'ground'],
      image: { kind: 'picture', grid: 28 },
      notice: `images are sent to ${server.host}, to its model Qwen2.5-VL-7B-Instruct, up to 8 requests at a time`,
    })
  })

  test('asks for no boxes of a model whose way with them is unknown, and says so', async () => {
    const server = await startChatServer({ say: () => '' })
    const { info } = await open(server.url)
    expect(info.capabilities).toEqual(['caption', 'qa'])
    expect(info.notice).toMatch(/boxes are not asked for.*--endpoint-boxes cogvlm\|/)
    expect((await open(server.url, { boxes: 'cogvlm' })).info.capabilities).toContain('ground')
  })

  test('makes one model of the same name on two hosts, another of other boxes or pixels', async () => {
    const [one, two] = [await startChatServer({ say: () => '' }), await startChatServer({ say: () => '' })]
    const digests = await Promise.all(
      [
        open(one.url),
        open(`${two.endpoint}/v1/`),
        open(one.url, { boxes: 'cogvlm' }),
        open(one.url, { maxPixels: 1 }),
      ].map(async (engine) => (await engine).info.model.digest),
    )
    expect(digests[1]).toBe(digests[0])
    expect(new Set(digests).size).toBe(3)
  })

  test('works with a server that lists no models, once one is named', async () => {
    const server = await startChatServer({ hasList: false, say: () => 'A dog.' })
    await expect(open(server.url)).rejects.toThrow(/lists no models.*--endpoint-model/)
    expect(await ask(server.url, [prompt('What?')], { model: 'any' })).toMatchObject([{ text: 'A dog.' }])
  })

  test.each<[string, string, RegExp, string?]>([
    ['no address', 'localhost', /no http or https address/],
    ['a key in the address', `http://user:${secret}@host/v1`, /--endpoint for host has a user/],
    ['a query', `http://host/v1?key=${secret}`, /has a user, a query/],
    ['a key of two lines', 'http://host/v1', /key has \d+ characters/, `${secret}\nB`],
  ])('refuses %s', async (_, url, ...[expected, key]) => {
    const opening = open(url, { key })
    await expect(opening).rejects.toThrow(expected)
    await expect(opening).rejects.not.toThrow(secret)
  })

  test('tells that nobody answers', async () => {
    const server = await startChatServer({ say: () => '' })
    await server.close()
    await expect(open(server.url)).rejects.toThrow(
      /nothing answers at 127.*ECONNREFUSED.*is the server running/,
    )
  })

  test('refuses several models without a choice, and a dialect that is none', async () => {
    const server = await startChatServer({ models: ['a', 'b'], say: () => '' })
    await expect(open(server.url)).rejects.toThrow(/has "a", "b"; choose one with --endpoint-model/)
    await expect(open(server.url, { model: 'a', boxes: 'x' })).rejects.toThrow(/--endpoint-boxes is "x"/)
  })

  test('tells a refused key without repeating it, though the server does', async () => {
    const server = await startChatServer({ key: 'another', say: () => '' })
    const opening = open(server.url, { key: secret })
    await expect(opening).rejects.toThrow(
      /401: "Incorrect API key provided: Bearer \[key\]"; the key may not/,
    )
    await expect(opening).rejects.not.toThrow(secret)
    await expect(open(server.url)).rejects.toThrow(/no key was given/)
  })
})

test('keeps the key out of answers that repeat it', async () => {
  const server = await startChatServer({ key: secret, say: () => `You sent ${secret}.` })
  const answers = await ask(server.url, [prompt('What?')], { key: secret })
  expect(answers[0]?.text).toBe('You sent [key].')
  expect(JSON.stringify(answers)).not.toContain(secret)
})

test('holds the limit of requests over all images', async () => {
  let [running, most] = [0, 0]
  const say = (_: ChatCall) => {
    running += 1
    most = Math.max(most, running)
    setTimeout(() => (running -= 1), 20)
    return { body: completion('A dog.'), delayMs: 20 }
  }
  const server = await startChatServer({ say })
  const engine = await open(server.url, { concurrency: 3 })
  expect(engine.info.imagesAtOnce).toBe(3)
  const sessions = await Promise.all([1, 2, 3, 4].map(async () => await engine.openImage(picture)))
  await Promise.all(sessions.map(async (session) => await session.generate([prompt('1'), prompt('2')])))
  expect(server.chats).toHaveLength(8)
  expect(most).toBe(3)
})

describe('cancelling', () => {
  test('ends requests under way, waiting for their turn and resting, with the reason of the signal', async () => {
    const server = await startChatServer({
      say: (call) => (wordsOf(call) === 'busy' ? complaint(503, 'busy') : { hang: true }),
    })
    const retry = { ...quick, firstDelayMs: 60_000, maxDelayMs: 60_000 }
    const engine = await open(server.url, { concurrency: 2, retry })
    const session = await engine.openImage(picture)
    const stop = new AbortController()
    const asking = session.generate([prompt('busy'), prompt('hangs'), prompt('waits')], stop.signal)
    const reason = new Error('enough')
    setTimeout(() => stop.abort(reason), 100)
    await expect(asking).rejects.toBe(reason)
    expect(server.chats.map(wordsOf).toSorted()).toEqual(['busy', 'hangs'])
    await expect(engine.openImage(picture, stop.signal)).rejects.toBe(reason)
  })

  test('leaves the places free for others', async () => {
    const server = await startChatServer({
      say: (call) => (wordsOf(call) === 'hangs' ? { hang: true } : 'A dog.'),
    })
    const session = await (await open(server.url, { concurrency: 1 })).openImage(picture)
    for (let turn = 0; turn < 3; turn += 1)
      await expect(
        session.generate([prompt('hangs'), prompt('waits')], AbortSignal.timeout(40)),
      ).rejects.toThrow()
    expect(await session.generate([prompt('What?')])).toMatchObject([{ text: 'A dog.' }])
  })

  test('closing ends what is under way', async () => {
    const server = await startChatServer({ say: () => ({ hang: true }) })
    const engine = await open(server.url)
    const asking = (await engine.openImage(null)).generate([prompt('What?')])
    setTimeout(() => void engine.close(), 50)
    await expect(asking).rejects.toThrow(/closed/)
  })
})
