// Bedrock batch inference: input lines that ask each record's questions of a model that speaks Anthropic's messages,
// and beside them our answers as output lines. Joined on recordId, never on order.
import { join } from 'node:path'
import { z } from 'zod'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { labelOfTurns, questionParts, turnsOf } from './core/conversation.ts'
import { embeddedTypes, embedImage } from './core/data-url.ts'
import { perMilleDialect } from './core/dialect.ts'
import type { ExportFiles, ExportFormat, ExportImage } from './core/format.ts'
import { readJsonLines } from './core/json-elements.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, text } from './core/rules.ts'

/** Of one input file; accounts may have lower quotas. */
const limits = { rows: 50_000, bytes: 1_000_000_000 }
const messages =
  'docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html'
/** Of one image in a request. */
const maxImageBytes = 3_750_000
const guide = 'docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html'

const Output = z.object({
  recordId: z.string(),
  modelOutput: z.object({ content: z.array(z.object({ text: z.string() })).min(1) }),
})
const Input = z.object({
  recordId: z.string(),
  modelInput: z.object({ messages: z.array(z.unknown()).length(1) }),
})

const part = { summary: '', imageModes: ['embed'], lost: [], rules: [], readRow: () => null } as const
const inputs = rowFormat({
  ...part,
  name: 'input',
  extension: 'jsonl',
  limits,
  async rowsOf(image) {
    const { mime, base64: data } = await embedImage(image, { maxBytes: maxImageBytes })
    const source = { type: 'base64', media_type: mime, data }
    return image.records.flatMap((record) =>
      turnsOf(record, perMilleDialect).map(({ question }, turn) => ({
        recordId: bedrockId(record, turn),
        modelInput: {
          anthropic_version: 'bedrock-2023-05-31',
          max_tokens: Math.max(256, record.usage.outputTokens * 2),
          temperature: record.sampling.temperature,
          messages: [
            {
              role: 'user',
              content: [{ type: 'image', source }, ...questionParts(question)],
            },
          ],
        },
      })),
    )
  },
})
const outputs = rowFormat({
  ...part,
  name: 'output',
  extension: 'jsonl',
  rowsOf: (image) =>
    image.records.flatMap((record) =>
      turnsOf(record, perMilleDialect).map(({ answer }, turn) => ({
        recordId: bedrockId(record, turn),
        modelOutput: {
          content: [{ type: 'text', text: answer }],
          usage: { input_tokens: record.usage.promptTokens, output_tokens: record.usage.outputTokens },
        },
      })),
    ),
})

export const bedrockBatch: ExportFormat = {
  name: 'bedrock-batch',
  summary: 'Bedrock batch inference: input lines, and our answers as output lines',
  imageModes: ['embed'],
  lost: [
    'the name of the image and the recordId: ids are 11 letters and digits made from it',
    'that questions of one record belong together: each is a line of its own',
    'where the words of a box begin, and all beyond thousandths of its sides',
    'everything else of a record but its questions, answers and token counts',
  ],
  open(context) {
    const [asked, answered] = [inputs.open(context), outputs.open(context)]
    const named = (image: ExportImage, kind: string) => ({
      ...image,
      split: `${image.split ?? 'bedrock'}.${kind}`,
    })
    return {
      async write(image) {
        const entries = await asked.write(named(image, 'input'))
        await answered.write(named(image, 'output'))
        return entries
      },
      async close() {
        await asked.close()
        await answered.close()
      },
    }
  },
  rows: inputs.rows,
  async *read(files) {
    const answerOf = await readAnswers(files)
    for await (const { file, value } of inputs.rows(files)) {
      if (!file.includes('input')) continue
      const { recordId, modelInput } = Input.parse(value)
      const question = text(field(list(field(modelInput.messages[0], 'content'))[1], 'text'))
      const turn = { question, answer: answerOf.get(recordId) ?? '' }
      const label = labelOfTurns([turn], { recordId: null, dialect: perMilleDialect })
      yield { image: '', width: null, height: null, labels: [label] }
    }
  },
  rules: [
    {
      name: 'record-id-once',
      says: 'recordId is 11 letters and digits, and there once: outputs come back in any order',
      source: guide,
      problem({ file, value }, { seen, previous }) {
        const id = text(field(value, 'recordId'))
        const name = `${file} ${id}`
        if (!/^[A-Za-z0-9]{11}$/.test(id)) return `${name} has ${id.length} characters`
        if (previous?.file !== file) seen.clear()
        if (seen.has(id)) return `${name} is there twice`
        seen.add(id)
        return null
      },
    },
    {
      name: 'model-input-is-a-request',
      says: "modelInput is the model's own request: version, max_tokens and messages whose images are base64",
      source: guide,
      problem({ file, number, value }) {
        if (!file.includes('input')) return null
        const request = field(value, 'modelInput')
        const parts = list(field(list(field(request, 'messages'))[0], 'content'))
        const image = parts.find((one) => field(one, 'type') === 'image')
        const isWhole =
          text(field(request, 'anthropic_version')) !== '' &&
          Number(field(request, 'max_tokens')) > 0 &&
          text(field(field(image, 'source'), 'data')) !== ''
        return isWhole ? null : `${file}, line ${number}`
      },
    },
    {
      name: 'image-type-and-size',
      says: 'an image is JPEG, PNG, GIF or WebP of at most 3.75 MB',
      source: messages,
      problem({ file, number, value }) {
        if (!file.includes('input')) return null
        const parts = list(field(list(field(field(value, 'modelInput'), 'messages'))[0], 'content'))
        const wrong = parts
          .filter((one) => field(one, 'type') === 'image')
          .map((one) => field(one, 'source'))
          .find((image) => {
            const type = text(field(image, 'media_type'))
            const isKnown = embeddedTypes.has(type) || type === 'image/gif'
            return !isKnown || text(field(image, 'data')).length * 0.75 > maxImageBytes + 2
          })
        return wrong === undefined
          ? null
          : `${file}, line ${number}: ${text(field(wrong, 'media_type'))} of ${text(field(wrong, 'data')).length} characters`
      },
    },
    {
      name: 'file-within-limits',
      says: 'a file has at most 50,000 records',
      source: guide,
      problem: ({ file, number }) =>
        file.includes('input') && number === limits.rows + 1 ? `${file} has over ${limits.rows} lines` : null,
    },
  ],
}

/** The first 11 digits in base 36 of the recordId: 57 bits, so a million records meet with a chance of 4 in a million. */
function bedrockId({ recordId }: LabelRecord, turn: number): string {
  const number = BigInt(`0x${recordId}`) + BigInt(turn) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834n
  return (number % 36n ** 11n).toString(36).padStart(11, '0').toUpperCase()
}

async function readAnswers({ folder, names }: ExportFiles): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const name of names.filter((one) => one.endsWith('.output.jsonl'))) {
    for await (const { value } of readJsonLines(join(folder, name))) {
      const { recordId, modelOutput } = Output.parse(value)
      found.set(recordId, modelOutput.content[0]?.text ?? '')
    }
  }
  return found
}
