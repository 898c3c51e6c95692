// OpenAI chat messages, one conversation a line, as fine-tuning with images takes them. The image is a URL: its bytes
// as a data URL, or where it is.
import { z } from 'zod'
import { isRgb } from './core/colour-mode.ts'
import { labelOfTurns, pairTurns, questionParts, turnsOf } from './core/conversation.ts'
import { imageUrl } from './core/data-url.ts'
import { perMilleDialect } from './core/dialect.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, nameOf, text } from './core/rules.ts'

const ImagePart = z.object({ type: z.literal('image_url'), image_url: z.object({ url: z.string() }) })
const TextPart = z.object({ type: z.literal('text'), text: z.string() })
const Message = z.object({
  role: z.enum(['user', 'assistant']),
  content: z.union([z.string(), z.array(z.union([ImagePart, TextPart]))]),
})
const Row = z.object({ messages: z.array(Message) })

const guide = 'platform.openai.com/docs/guides/vision-fine-tuning'
/** Of the bytes behind a data URL; the guide's limit of an image. */
const maxImageBytes = 10 * 1024 * 1024
const imageFormats = /^data:image\/(jpeg|png|webp);base64,/

export const openaiChat = rowFormat({
  name: 'openai-chat',
  summary: 'OpenAI chat messages, one conversation a line',
  imageModes: ['embed', 'reference'],
  hubFiles: /^[^/]+\.jsonl$/,
  extension: 'jsonl',
  lost: [
    'the recordId and the name of an embedded image: a line may hold messages only',
    'where the words of a box begin, and all beyond thousandths of its sides',
    'everything else of a record but its questions and answers',
    'the bytes of embedded images that are grey, of inks or of a palette, or too large: they are encoded again',
  ],
  async rowsOf(image, context) {
    const rows = []
    for (const record of image.records) {
      const turns = turnsOf(record, perMilleDialect)
      if (turns.length === 0) continue
      const url = await imageUrl(image, context, { maxBytes: maxImageBytes, isRgbOnly: true })
      const messages = turns.flatMap(({ question, answer }, index) => [
        {
          role: 'user',
          content: [
            ...(index === 0 ? [{ type: 'image_url', image_url: { url } }] : []),
            ...questionParts(question),
          ],
        },
        { role: 'assistant', content: answer },
      ])
      rows.push({ messages })
    }
    return rows
  },
  readRow(value) {
    const { messages } = Row.parse(value)
    const parts = messages.flatMap(({ content }) => (typeof content === 'string' ? [] : content))
    const image = parts.find((part) => part.type === 'image_url')
    const turns = pairTurns(messages.map(({ content }) => textOf(content)))
    const label = labelOfTurns(turns, { recordId: null, dialect: perMilleDialect })
    return { image: image?.image_url.url ?? '', width: null, height: null, labels: [label] }
  },
  rules: [
    {
      name: 'messages-only',
      says: 'a line holds messages, and no field that the service does not know',
      source: guide,
      problem(row) {
        const unknown = Object.keys(Object(row.value)).filter((name) => name !== 'messages')
        return unknown.length === 0 ? null : `${row.file} has the fields ${unknown.join(', ')}`
      },
    },
    {
      name: 'image-in-user-message',
      says: 'images stand in user messages only, and there is one',
      source: guide,
      problem(row) {
        const roles = list(field(row.value, 'messages')).flatMap((message) =>
          urlsOf(message).map(() => field(message, 'role')),
        )
        return roles.length === 1 && roles[0] === 'user'
          ? null
          : `${nameOf(row, roles)} are the roles with an image`
      },
    },
    {
      name: 'image-format-and-size',
      says: 'an image is JPEG, PNG or WebP of at most 10 MB, as a data URL or behind http(s)',
      source: guide,
      problem(row) {
        const urls = list(field(row.value, 'messages')).flatMap(urlsOf)
        const wrong = urls.find(
          (url) => !/^https?:/.test(url) && (!imageFormats.test(url) || (url.length * 3) / 4 > maxImageBytes),
        )
        return wrong === undefined ? null : `${wrong.slice(0, 60)} (${wrong.length} characters)`
      },
    },
    {
      name: 'image-in-rgb',
      says: 'an image is in RGB or RGBA: neither grey nor CMYK, and without a palette',
      source: guide,
      problem(row) {
        const urls = list(field(row.value, 'messages')).flatMap(urlsOf)
        const wrong = urls.find((url) => imageFormats.test(url) && isRgb(bytesOf(url)) === false)
        return wrong === undefined ? null : nameOf(row, wrong.slice(0, 60))
      },
    },
    {
      name: 'ends-with-assistant',
      says: 'the last message is of the assistant and not empty: it is what is learned',
      source: 'platform.openai.com/docs/guides/supervised-fine-tuning',
      problem(row) {
        const last = list(field(row.value, 'messages')).at(-1)
        return field(last, 'role') === 'assistant' && text(field(last, 'content')).trim() !== ''
          ? null
          : `the last message is of ${JSON.stringify(field(last, 'role'))}`
      },
    },
  ],
})

function textOf(content: z.infer<typeof Message>['content']): string {
  if (typeof content === 'string') return content
  return content.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n')
}

function bytesOf(url: string): Uint8Array {
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64')
}

function urlsOf(message: unknown): string[] {
  const parts = list(field(message, 'content')).filter((part) => field(part, 'type') === 'image_url')
  return parts.map((part) => text(field(field(part, 'image_url'), 'url')))
}
