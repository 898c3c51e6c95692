// A server on loopback that speaks OpenAI's chat completions and says what a test wants: no model, but the protocol.
import { type HttpAnswer, type HttpCall, startHttpServer } from './http-server.ts'

type Part = { type: string; text?: string; image_url?: { url: string } }
export type ChatCall = {
  model: string
  max_tokens: number
  messages: { role: string; content: string | Part[] }[]
  [name: string]: unknown
}
/** What it says, or a whole answer of HTTP. `turn` counts the chat calls from 0. */
export type Reply = string | HttpAnswer

type ChatServerOptions = {
  models?: readonly string[]
  /** 404 instead of a list of models. */
  hasList?: boolean
  key?: string
  say: (call: ChatCall, turn: number) => Reply
}

/** Starts it; `chats` holds the bodies that came, `calls` everything. */
export async function startChatServer({ models = ['tiny-vl'], hasList = true, key, say }: ChatServerOptions) {
  const chats: ChatCall[] = []
  const { endpoint, calls, close } = await startHttpServer((call) => {
    if (key !== undefined && call.headers['authorization'] !== `Bearer ${key}`)
      return complaint(401, `Incorrect API key provided: ${String(call.headers['authorization'])}`)
    if (call.path === '/v1/models')
      return hasList
        ? { body: JSON.stringify({ object: 'list', data: models.map((id) => ({ id })) }) }
        : { status: 404 }
    if (call.path !== '/v1/chat/completions') return complaint(404, `no route ${call.path}`)
    const chat = readChat(call)
    chats.push(chat)
    const reply = say(chat, chats.length - 1)
    return typeof reply === 'string' ? { body: completion(reply) } : reply
  })
  return { url: `${endpoint}/v1`, endpoint, host: new URL(endpoint).host, calls, chats, close }
}

/** The body of a completion. */
export function completion(content: unknown, choice: Record<string, unknown> = {}): string {
  return JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop', ...choice }],
    usage: { prompt_tokens: 321, completion_tokens: 7, total_tokens: 328 },
  })
}

/** An error as OpenAI and its kin write it. */
export function complaint(status: number, message: string, headers: Record<string, string> = {}): HttpAnswer {
  return { status, headers, body: JSON.stringify({ error: { message, type: 'error', code: null } }) }
}

/** The words of a call, without its picture. */
export function wordsOf({ messages }: ChatCall): string {
  return messages
    .flatMap(({ content }) =>
      typeof content === 'string' ? [content] : content.map(({ text = '' }) => text),
    )
    .join('')
}

function readChat({ body }: HttpCall): ChatCall {
  return JSON.parse(body) as ChatCall // a test's own request, which it looks at
}
