// OpenAI batch: request lines that ask each record's questions again, and beside them the answers as output lines.
// What reads them: OpenAI's and vLLM's batch runners. They are joined on custom_id, never on order.
import { join } from 'node:path'
import { z } from 'zod'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { labelOfTurns, questionParts, turnsOf } from './core/conversation.ts'
import { embeddedTypes, imageUrl } from './core/data-url.ts'
import { perMilleDialect } from './core/dialect.ts'
import type { ExportFiles, ExportFormat, ExportImage, WriterContext } from './core/format.ts'
import { readJsonLines } from './core/json-elements.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, text } from './core/rules.ts'

/** Of one input file of the service. */
const limits = { rows: 50_000, bytes: 200 * 1000 * 1000 }
const guide = 'platform.openai.com/docs/guides/batch'
const vllm = 'vllm-project/vllm vllm/entrypoints/openai/run_batch.py BatchRequestInput'

const Output = z.object({
  custom_id: z.string(),
  response: z.object({
    body: z.object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1) }),
  }),
})
const Request = z.object({
  custom_id: z.string(),
  body: z.object({ messages: z.array(z.unknown()).length(1) }),
})

const requests = rowFormat({
  name: 'requests',
  summary: '',
  imageModes: ['embed', 'reference'],
  extension: 'jsonl',
  lost: [],
  rules: [],
  limits,
  async rowsOf(image, context) {
    const url = await imageUrl(image, context)
    return image.records.flatMap((record) => requestsOf(record, url))
  },
  readRow: () => null,
})

const answers = rowFormat({
  name: 'answers',
  summary: '',
  imageModes: ['embed', 'reference'],
  extension: 'jsonl',
  lost: [],
  rules: [],
  rowsOf: (image) => image.records.flatMap(answersOf),
  readRow: () => null,
})

/** One request for each question: the batch service knows no turns between lines. */
function requestsOf(record: LabelRecord, url: string): unknown[] {
  return turnsOf(record, perMilleDialect).map(({ question }, turn) => ({
    custom_id: customId(record, turn),
    method: 'POST',
    url: '/v1/chat/completions',
    body: {
      model: record.model.name,
      max_tokens: Math.max(256, record.usage.outputTokens * 2),
      temperature: record.sampling.temperature,
      seed: record.sampling.seed,
      messages: [
        {
          role: 'user',
          content: [{ type: 'image_url', image_url: { url } }, ...questionParts(question)],
        },
      ],
    },
  }))
}

function answersOf(record: LabelRecord): unknown[] {
  return turnsOf(record, perMilleDialect).map(({ answer }, turn) => ({
    id: `batch_req_${customId(record, turn)}`,
    custom_id: customId(record, turn),
    response: {
      status_code: 200,
      request_id: record.recordId,
      body: {
        choices: [
          {
            index: 0,
            finish_reason: record.finishReason ?? 'stop',
            message: { role: 'assistant', content: answer },
          },
        ],
        usage: { prompt_tokens: record.usage.promptTokens, completion_tokens: record.usage.outputTokens },
      },
    },
    error: null,
  }))
}

function customId({ recordId }: LabelRecord, turn: number): string {
  return `${recordId}-${turn}`
}

/** `val` becomes `val.requests` and `val.answers`. */
function named(image: ExportImage, kind: string): ExportImage {
  return { ...image, split: `${image.split ?? 'batch'}.${kind}` }
}

export const openaiBatch: ExportFormat = {
  name: 'openai-batch',
  summary: 'OpenAI batch lines: requests, and our answers as output lines',
  imageModes: ['embed', 'reference'],
  lost: [
    'the name of an embedded image',
    'that questions of one record belong together: each is a line of its own',
    'where the words of a box begin, and all beyond thousandths of its sides',
    'everything else of a record but its recordId, questions, answers and token counts',
  ],
  open(context: WriterContext) {
    const [asked, answered] = [requests.open(context), answers.open(context)]
    return {
      async write(image) {
        const entries = await asked.write(named(image, 'requests'))
        await answered.write(named(image, 'answers'))
        return entries
      },
      async close() {
        await asked.close()
        await answered.close()
      },
    }
  },
  rows: requests.rows,
  async *read(files) {
    const answerOf = await readAnswers(files)
    for await (const { file, value } of requests.rows(files)) {
      if (!file.includes('requests')) continue
      const { custom_id: id, body } = Request.parse(value)
      const parts = list(field(body.messages[0], 'content'))
      const turn = { question: text(field(parts[1], 'text')), answer: answerOf.get(id) ?? '' }
      const label = labelOfTurns([turn], { recordId: id.replace(/-\d+$/, ''), dialect: perMilleDialect })
      const image = text(field(field(parts[0], 'image_url'), 'url'))
      yield { image, width: null, height: null, labels: [label] }
    }
  },
  rules: [
    {
      name: 'custom-id-once',
      says: 'every custom_id of a file is there and there once: outputs come back in any order',
      source: guide,
      problem({ file, value }, { seen, previous }) {
        const id = text(field(value, 'custom_id'))
        if (id === '') return `${file} has a line without custom_id`
        if (previous?.file !== file) seen.clear()
        if (seen.has(id)) return `${file} ${id} is there twice`
        seen.add(id)
        return null
      },
    },
    {
      name: 'posts-to-one-endpoint',
      says: 'a request is a POST to /v1/chat/completions with a model and messages in its body',
      source: `${guide}; ${vllm}`,
      problem(row) {
        if (!row.file.includes('requests')) return null
        const isRequest =
          field(row.value, 'method') === 'POST' &&
          field(row.value, 'url') === '/v1/chat/completions' &&
          text(field(field(row.value, 'body'), 'model')) !== '' &&
          list(field(field(row.value, 'body'), 'messages')).length > 0
        return isRequest ? null : `${row.file}, ${JSON.stringify(field(row.value, 'custom_id'))}`
      },
    },
    {
      name: 'image-of-a-known-type',
      says: 'an image is JPEG, PNG or WebP as a data URL, or behind an address',
      source: 'platform.openai.com/docs/guides/images-vision',
      problem({ file, value }) {
        const sent = list(field(field(value, 'body'), 'messages')).flatMap((one) =>
          list(field(one, 'content')),
        )
        const wrong = sent
          .map((one) => text(field(field(one, 'image_url'), 'url')))
          .find((url) => url.startsWith('data:') && !embeddedTypes.has(/^data:([^;]*)/.exec(url)?.[1] ?? ''))
        return wrong === undefined
          ? null
          : `${file} ${text(field(value, 'custom_id'))}: ${wrong.slice(0, 40)}`
      },
    },
    {
      name: 'file-within-limits',
      says: 'a file has at most 50,000 requests',
      source: guide,
      problem: ({ file, number }) =>
        file.includes('requests') && number === limits.rows + 1
          ? `${file} has over ${limits.rows} lines`
          : null,
    },
  ],
}

async function readAnswers({ folder, names }: ExportFiles): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of names.filter((one) => one.endsWith('.answers.jsonl'))) {
    for await (const { value } of readJsonLines(join(folder, name))) {
      const { custom_id: id, response } = Output.parse(value)
      found.set(id, response.body.choices[0]?.message.content ?? '')
    }
  }
  return found
}
