// One chat completion in OpenAI's protocol: what is sent, and what the reply means. What concerns one prompt is a value;
// what no other image would fare better with ends the run. It does not know boxes or tasks.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import type { Failure } from '../../../schemas/failure.ts'
import type { Answer, PromptRequest } from '../contract.ts'
import type { HttpReply } from './requests.ts'

export type ChatMessage = {
  role: 'user' | 'assistant'
  content: string | ({ type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } })[]
}

export type Said = Pick<Answer, 'text' | 'finishReason' | 'usage'> & { failure?: Failure; repairs?: string[] }

/** Who is asked, for messages. */
export type Asked = {
  host: string
  model: string
  path: string
  hasKey: boolean
  modelNames: readonly string[]
}

/** The image before everything, then the turns that were, then the question. */
export function chatMessages(
  { history }: Pick<PromptRequest, 'history'>,
  { text, imageUrl }: { text: string; imageUrl: string | null },
): ChatMessage[] {
  const said: ChatMessage[] = history.flatMap(({ question, answer }) => [
    { role: 'user' as const, content: question },
    { role: 'assistant' as const, content: answer },
  ])
  const [first, ...rest] = [...said, { role: 'user' as const, content: text }]
  if (imageUrl === null || first === undefined || typeof first.content !== 'string')
    return [...said, { role: 'user', content: text }]
  const content: ChatMessage['content'] = [
    { type: 'image_url', image_url: { url: imageUrl } },
    { type: 'text', text: first.content },
  ]
  return [{ role: first.role, content }, ...rest]
}

/** The body of a request. What is at its neutral value is left out: not every server knows it. */
export function chatBody(
  { maxNewTokens, sampling }: PromptRequest,
  { model, messages }: { model: string; messages: readonly ChatMessage[] },
): string {
  const { temperature, topK, topP, repetitionPenalty, seed } = sampling
  return JSON.stringify({
    model,
    messages,
    max_tokens: maxNewTokens,
    temperature,
    ...(topP < 1 ? { top_p: topP } : {}),
    ...(topK > 0 ? { top_k: topK } : {}),
    ...(repetitionPenalty === 1 ? {} : { repetition_penalty: repetitionPenalty }),
    ...(temperature > 0 ? { seed: seed % 2 ** 31 } : {}),
    stream: false,
  })
}

const Tokens = z.int().nonnegative()
const Completion = z.object({
  choices: z.array(
    z.object({
      message: z.object({
        content: z
          .union([z.string(), z.array(z.object({ type: z.string(), text: z.string().optional() }))])
          .nullish(),
        refusal: z.string().nullish(),
      }),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: z
    .object({
      prompt_tokens: Tokens,
      completion_tokens: Tokens.optional(),
      prompt_tokens_details: z.object({ image_tokens: Tokens.nullish() }).nullish(),
    })
    .nullish(),
})

/** Longer answers are cut: records are for labels. */
const maxAnswerChars = 64 * 1024
/** Of what is no answer, kept to look at. */
const maxRawChars = 2000

/** What a reply says to a prompt. Throws UserError for what is not about the prompt. */
export function readReply(reply: HttpReply, asked: Asked): Said {
  const { host } = asked
  if (reply.kind === 'none') {
    const code = reply.reason === 'timeout' ? 'timed-out' : 'engine-error'
    return nothing({ code, message: `${host} did not answer: ${reply.message}` })
  }
  const { status, text } = reply
  if (status !== 200) return readRefusal(reply, asked)
  const parsed = Completion.safeParse(parseJson(text))
  if (!parsed.success) {
    const message = `${host} answered something that is no chat completion; the answer's beginning is in raw`
    return nothing({ code: 'engine-error', message }, text.slice(0, maxRawChars))
  }
  const [choice] = parsed.data.choices
  if (choice === undefined) {
    const message = `${host} answered with an empty list of choices; the answer's beginning is in raw`
    return nothing({ code: 'engine-error', message }, text.slice(0, maxRawChars))
  }
  return readChoice(choice, usageOf(parsed.data), host)
}

type Choice = z.infer<typeof Completion>['choices'][number]

function readChoice({ message, finish_reason: reason }: Choice, usage: Answer['usage'], host: string): Said {
  const { content, refusal } = message
  const whole = (
    typeof content === 'string' ? content : (content ?? []).map(({ text = '' }) => text).join('')
  ).trim()
  const text = whole.slice(0, maxAnswerChars)
  if (typeof refusal === 'string' && text === '') {
    const failure: Failure = { code: 'answer-unparsable', message: `the model of ${host} refused to answer` }
    return { text: refusal.slice(0, maxAnswerChars), finishReason: 'stop', usage, failure }
  }
  if (reason === 'content_filter') {
    const failure: Failure = {
      code: text === '' ? 'answer-empty' : 'answer-unparsable',
      message: `a content filter of ${host} held the answer back`,
    }
    return { text, finishReason: 'stop', usage, failure }
  }
  const isCut = text.length < whole.length
  return {
    text,
    finishReason: reason === 'length' || isCut ? 'length' : 'stop',
    usage,
    ...(isCut ? { repairs: [`cut an answer of ${whole.length} characters`] } : {}),
  }
}

function usageOf({ usage }: z.infer<typeof Completion>): Answer['usage'] {
  if (usage === null || usage === undefined) return noUsage
  // Most servers count the image's tokens among the prompt's and do not say how many they are.
  const imageTokens = Math.min(usage.prompt_tokens, usage.prompt_tokens_details?.image_tokens ?? 0)
  return {
    promptTokens: usage.prompt_tokens - imageTokens,
    imageTokens,
    outputTokens: usage.completion_tokens ?? 0,
  }
}

const noUsage = { promptTokens: 0, imageTokens: 0, outputTokens: 0 }

function nothing(failure: Failure, text = ''): Said {
  return { text, finishReason: 'stop', usage: noUsage, failure }
}

const tooLong =
  /context (length|window|size)|maximum (context|model|sequence)|prompt is too long|too many tokens|n_ctx/i

function readRefusal({ status, text, location }: Extract<HttpReply, { kind: 'reply' }>, asked: Asked): Said {
  const said = saidBy(text)
  const answered = `${asked.host} answered ${status}${said === '' ? '' : `: "${said}"`}`
  const endOfRun = endsRun(status, { text, location, asked })
  if (endOfRun !== null) throw new UserError(`${answered}; ${endOfRun}`)
  if ((status === 400 || status === 413 || status === 422) && tooLong.test(said))
    return nothing({
      code: 'prompt-too-long',
      message: `${answered}; ask something shorter or send fewer pixels`,
    })
  return nothing({ code: 'engine-error', message: answered })
}

type Refusal = { text: string; location: string | null; asked: Asked }

/** What to do about a status that every other request would meet too; null for others. */
function endsRun(status: number, { text, location, asked }: Refusal): string | null {
  const { model, path, hasKey, modelNames } = asked
  if (status >= 300 && status < 400)
    return `it sends on to ${location ?? 'nowhere'}, and images go to the named host only; give the address that answers itself with --endpoint`
  if (status === 401 || status === 403)
    return hasKey
      ? `the key may not ask for "${model}"; put another into COGLABEL_ENDPOINT_KEY or the file of --endpoint-key-file`
      : 'no key was given; put one into COGLABEL_ENDPOINT_KEY or a file for --endpoint-key-file'
  if (status === 402 || (status === 429 && text.includes('insufficient_quota')))
    return 'the account has nothing left to spend; look at its billing'
  if (status === 404 || status === 405)
    return (
      `it has no model "${model}" or nothing at ${path}; ` +
      (modelNames.length === 0
        ? 'look at --endpoint-model, and at --endpoint, which for most servers ends in /v1'
        : `it lists ${listNames(modelNames)}: give one of them with --endpoint-model`)
    )
  return null
}

export function listNames(names: readonly string[]): string {
  const shown = names.slice(0, 10).map((name) => `"${name.slice(0, 200)}"`)
  return `${shown.join(', ')}${names.length > 10 ? ` and ${names.length - 10} more` : ''}`
}

const Complaint = z.union([
  z.object({ error: z.object({ message: z.string() }) }).transform(({ error }) => error.message),
  z.object({ error: z.string() }).transform(({ error }) => error),
  z.object({ message: z.string() }).transform(({ message }) => message),
  z.object({ detail: z.string() }).transform(({ detail }) => detail),
])

/** The server's own words, on one line. */
function saidBy(text: string): string {
  const parsed = Complaint.safeParse(parseJson(text))
  return (parsed.success ? parsed.data : text).replaceAll(/\s+/g, ' ').trim().slice(0, 300)
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
