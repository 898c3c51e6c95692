// A model that another server runs, behind the engine's type: any that speaks OpenAI's chat completions (vLLM, LMDeploy,
// SGLang, llama-server). It does not know tasks, records, or where the key was kept.
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { InvariantError, UserError } from '../../../schemas/errors.ts'
import type { Answer, Engine, EngineInfo, ImageSession, Picture, PromptRequest } from '../contract.ts'
import { askText } from './ask-text.ts'
import { defaultRetry, type RetrySettings } from './backoff.ts'
import { type BoxDialect, boxDialects, dialectOfModel } from './box-dialects.ts'
import { readAnswer } from './box-text.ts'
import { type Asked, chatBody, chatMessages, listNames, parseJson, readReply } from './chat.ts'
import { type HttpReply, openRequests, type Requests } from './requests.ts'

export type EndpointOptions = {
  /** What stands before /chat/completions, for example http://127.0.0.1:8000/v1. */
  url: string
  /** As the server calls it; undefined takes the only one that it has. */
  model?: string | undefined
  key?: string | undefined
  /** A dialect's name, or none; by the model's name when left out. */
  boxes?: string | undefined
  /** Requests at a time. */
  concurrency?: number | undefined
  /** Pixels of a picture at most; larger ones are made smaller before they are sent. */
  maxPixels?: number | undefined
  timeoutMs?: number | undefined
  retry?: RetrySettings
  /** What such a model is taken to be able to do, without and with boxes. */
  capabilities: { plain: readonly string[]; boxes: readonly string[] }
}

export const defaultConcurrency = 8
export const defaultTimeoutMs = 180_000
/** 1,280 squares of 28 pixels, what Qwen2.5-VL's authors advise; most models make less of an image. */
export const defaultMaxPixels = 1280 * 28 * 28

/** Raised when the same question is asked in other words or with another picture: old labels are not taken for new ones. */
const askedVersion = 1

/**
 * Looks whether the server is there, and which models it has. Throws UserError when it cannot be asked: nothing answers,
 * the key is refused, or the model is not named and there are several.
 */
export async function openEndpoint(options: EndpointOptions): Promise<Engine> {
  const baseUrl = readBaseUrl(options.url)
  const key = readKey(options.key)
  const requests = openRequests({
    baseUrl,
    key,
    concurrency: options.concurrency ?? defaultConcurrency,
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
    retry: options.retry ?? defaultRetry,
  })
  const asked = { host: baseUrl.host, path: baseUrl.pathname + chatPath, hasKey: key !== null }
  const modelNames = await listModels(requests, { ...asked, model: options.model ?? '', modelNames: [] })
  const model = options.model ?? onlyModel(modelNames, baseUrl.host)
  const dialect = chooseDialect(options.boxes, model)
  const closing = new AbortController()
  const info = describe({ options, baseUrl, model, dialect })
  return {
    info,
    openImage: async (image, signal) => {
      signal?.throwIfAborted()
      if (image instanceof Float32Array)
        throw new InvariantError('an endpoint takes pictures; it was given pixels')
      return openSession({
        image,
        dialect,
        requests,
        asked: { ...asked, model, modelNames },
        closing: closing.signal,
      })
    },
    close: async () => closing.abort(new UserError('the endpoint was closed')),
  }
}
const chatPath = 'chat/completions'

type SessionOptions = {
  image: Picture | null
  dialect: BoxDialect | null
  requests: Requests
  asked: Asked
  closing: AbortSignal
}

function openSession({ image, dialect, requests, asked, closing }: SessionOptions): ImageSession {
  const size = image === null ? null : { width: image.width, height: image.height }
  const imageUrl =
    image === null ? null : `data:${image.mime};base64,${Buffer.from(image.bytes).toString('base64')}`
  const answerTo = async (prompt: PromptRequest, signal: AbortSignal): Promise<Answer> => {
    const text = askText(prompt, { dialect, size })
    const body = chatBody(prompt, { model: asked.model, messages: chatMessages(prompt, { text, imageUrl }) })
    const said = readReply(await requests.send(chatPath, { body }, signal), asked)
    const answer: Answer = { promptText: text, tokenIds: [], ...said }
    const form = prompt.form ?? prompt.constraint
    if (said.failure !== undefined || form?.kind !== 'boxes' || dialect === null || size === null)
      return answer
    const read = readAnswer(said.text, { dialect, amid: form.text, size })
    return {
      ...answer,
      text: read.text,
      ...(read.text === said.text ? {} : { raw: said.text }),
      repairs: [...(said.repairs ?? []), ...read.repairs],
    }
  }
  return {
    generate: async (prompts, signal) =>
      await together(prompts, answerTo, [closing, ...(signal === undefined ? [] : [signal])]),
    close: async () => {},
  }
}

/** All prompts at once; the first that ends the run calls the others off, and all have ended before it is thrown. */
async function together(
  prompts: readonly PromptRequest[],
  answerTo: (prompt: PromptRequest, signal: AbortSignal) => Promise<Answer>,
  signals: readonly AbortSignal[],
): Promise<Answer[]> {
  const failed = new AbortController()
  const signal = AbortSignal.any([...signals, failed.signal])
  const answers = prompts.map(async (prompt) => {
    try {
      return await answerTo(prompt, signal)
    } catch (error) {
      failed.abort(error)
      throw error
    }
  })
  await Promise.allSettled(answers)
  signal.throwIfAborted()
  return await Promise.all(answers)
}

/** What a run of the named model is called and asked by, without asking the server: it may be out of reach from here. */
export function describeEndpoint(options: EndpointOptions & { model: string }): EngineInfo {
  const { model } = options
  const baseUrl = readBaseUrl(options.url)
  return describe({ options, baseUrl, model, dialect: chooseDialect(options.boxes, model) })
}

type Described = { options: EndpointOptions; baseUrl: URL; model: string; dialect: BoxDialect | null }

function describe({ options, baseUrl, model, dialect }: Described): EngineInfo {
  const { capabilities, concurrency = defaultConcurrency, maxPixels = defaultMaxPixels } = options
  const { host, protocol } = baseUrl
  const boxes = dialect?.name ?? 'none'
  // Where it runs is not part of what it is: a run may go on with another server of the same model.
  const identity = JSON.stringify({ endpoint: askedVersion, model, boxes, maxPixels })
  const plain = protocol === 'http:' && !isLoopback(baseUrl) ? ', unencrypted' : ''
  const unknown =
    dialect === null && options.boxes === undefined
      ? `; boxes are not asked for, since it is not known how ${model} writes them: give --endpoint-boxes ${boxDialects.map(({ name }) => name).join('|')}`
      : ''
  return {
    model: {
      name: model,
      digest: createHash('sha256').update(identity).digest('hex'),
      weights: 'remote',
      licence: '',
      host,
    },
    engine: `endpoint/${host}/${boxes}`,
    engineVersion: `chat-completions/${askedVersion}`,
    template: 'chat',
    capabilities: dialect === null ? capabilities.plain : [...capabilities.plain, ...capabilities.boxes],
    image: { kind: 'picture', grid: dialect?.grid ?? 1, minPixels: 4 * 28 * 28, maxPixels },
    imagesAtOnce: concurrency,
    notice: `images are sent to ${host}${plain}, to its model ${model}, up to ${concurrency} requests at a time${unknown}`,
  }
}

function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

function readBaseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw new UserError('--endpoint is no http or https address; expected one as http://127.0.0.1:8000/v1')
  // Addresses are shown and kept; a key in one would be too.
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new UserError(
      `--endpoint for ${url.host} has a user, a query or a fragment; give the bare address, and a key in COGLABEL_ENDPOINT_KEY or --endpoint-key-file`,
    )
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/`
  return url
}

/** A key that a header can carry. The message must not repeat it. */
function readKey(text: string | undefined): string | null {
  const key = text?.trim() ?? ''
  if (key === '') return null
  if (/^[\x21-\x7e]+$/.test(key)) return key
  throw new UserError(
    `the endpoint's key has ${key.length} characters with spaces, line breaks or others beyond ASCII among them; expected one word`,
  )
}

function chooseDialect(name: string | undefined, model: string): BoxDialect | null {
  if (name === undefined) return dialectOfModel(model)
  if (name === 'none') return null
  const dialect = boxDialects.find((one) => one.name === name)
  if (dialect !== undefined) return dialect
  throw new UserError(
    `--endpoint-boxes is "${name}"; expected ${boxDialects.map((one) => one.name).join(', ')} or none`,
  )
}

const ModelList = z.object({ data: z.array(z.object({ id: z.string() })) })

/** Names of the models that a server lists; none where it has no such list. */
async function listModels(requests: Requests, asked: Asked): Promise<string[]> {
  const reply = await requests.send('models', { attempts: 3 }, new AbortController().signal)
  if (reply.kind === 'none')
    throw new UserError(
      `nothing answers at ${asked.host}: ${reply.message}; is the server running, and is the address of --endpoint right?`,
    )
  if (reply.status === 401 || reply.status === 403 || isRedirect(reply)) readReply(reply, asked)
  const parsed = ModelList.safeParse(parseJson(reply.text))
  return parsed.success ? parsed.data.data.map(({ id }) => id) : []
}

function isRedirect({ status }: Extract<HttpReply, { kind: 'reply' }>): boolean {
  return status >= 300 && status < 400
}

function onlyModel(names: readonly string[], host: string): string {
  const [name, ...others] = names
  if (name !== undefined && others.length === 0) return name
  throw new UserError(
    name === undefined
      ? `${host} lists no models; name the one to ask with --endpoint-model`
      : `${host} has ${listNames(names)}; choose one with --endpoint-model`,
  )
}
