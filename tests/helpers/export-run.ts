// A small run with every shape of label and hostile texts, in memory, and its export by a format.
import { sealRun } from '../../dataset/seal.ts'
import { writePart } from '../../dataset/parts.ts'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import type { ExportFormat } from '../../dataset/exports/core/format.ts'
import { type ExportOptions, type ExportReport, exportRun } from '../../dataset/exports/core/run-export.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { RunConfig } from '../../schemas/run-config.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import { someRecord } from './records.ts'
import { tempFolder } from './temp-folder.ts'

export type Said = { task: string; question: string; output: TaskOutput; ordinal?: number }
export type Labelled = { key: string; mime?: string; orientation?: number; said: Said[] } & Partial<
  Pick<LabelRecord, 'createdAt' | 'status' | 'checks' | 'repairs'>
> & { bytes?: string; perceptualHash?: string }

export const imageSize = { width: 200, height: 100 }

/** Every shape of output, with texts that break careless writers. */
export const everyShape: readonly Labelled[] = [
  {
    key: 'a/one.jpg',
    said: [
      {
        task: 'caption',
        question: 'Describe the image.',
        output: { text: '=SUM(A1), "quoted" <image>\nand a \u{1f98a} fox' },
      },
      {
        task: 'grounded-caption',
        question: 'Describe the image with boxes.',
        output: {
          text: '\u{1f98a}: A dog, a dog and two cats.',
          phrases: [
            { text: 'A dog', start: 4, end: 9, boxes: [[0.1, 0.2, 0.5, 0.6]] },
            { text: 'a dog', start: 11, end: 16, boxes: [[0.5, 0.25, 0.75, 0.5]] },
            {
              text: 'two cats',
              start: 21,
              end: 29,
              boxes: [
                [0, 0, 0.25, 0.5],
                [0.5, 0.5, 0.75, 0.75],
              ],
            },
          ],
        },
      },
      {
        task: 'qa',
        question: 'Is there a dog?',
        output: {
          turns: [
            { question: 'Is there a dog?', answer: 'Yes.', kind: 'asked' },
            { question: 'How many?', answer: '-2, or "two"', kind: 'asked' },
          ],
        },
      },
    ],
  },
  {
    key: 'b two/ünï.jpg',
    said: [
      {
        task: 'ground',
        question: 'Where is the dog? Give its box.',
        output: { phrase: 'the dog', boxes: [[0.25, 0.25, 0.5, 0.75]] },
      },
      {
        task: 'ground',
        ordinal: 1,
        question: 'Where is a cow? Give its box.',
        output: { phrase: 'a cow', boxes: [] },
      },
    ],
  },
]

export function bytesOf(key: string, content = key): Buffer {
  return Buffer.from(`bytes of ${content}`)
}

export function recordsOf(images: readonly Labelled[]): LabelRecord[] {
  return images.flatMap(
    ({ key, said, mime = 'image/jpeg', orientation = 1, bytes, perceptualHash, ...fields }) =>
      said.map(({ task, question, output, ordinal = 0 }) => {
        const record = someRecord({ key, task, ordinal, id: JSON.stringify([key, task, ordinal, bytes]) })
        const sha256 = sha256Hex(bytesOf(key, bytes))
        return LabelRecord.parse({
          ...record,
          ...fields,
          source: {
            ...record.source,
            uri: `s3://test/${key}`,
            sha256,
            mime,
            ...(perceptualHash === undefined ? {} : { perceptualHash }),
          },
          image: { ...imageSize, storedWidth: 200, storedHeight: 100, orientation },
          output: fields.status === 'failed' ? null : output,
          error: fields.status === 'failed' ? { code: 'answer-empty', message: 'nothing' } : null,
          prompt: { template: 'chat', text: `Question: ${question} Answer:` },
          model: {
            name: 'cogvlm-test',
            digest: 'd'.repeat(64),
            weights: 'int8',
            licence: 'CogVLM License',
            engine: 'e',
            engineVersion: '1',
          },
        })
      }),
  )
}

export async function sealedStore(records: readonly LabelRecord[]): Promise<ObjectStore> {
  const store = openMemoryStore()
  await writePart(store, records)
  await sealRun({ store, runId: 'run-test', clock: () => new Date('2026-01-01T00:00:00Z') })
  return store
}

export const testConfig = RunConfig.parse({
  v: 1,
  runId: 'run-test',
  source: { kind: 'folder', uri: 's3://test/' },
  model: { name: 'cogvlm-test', digest: 'd'.repeat(64), weights: 'int8', licence: 'CogVLM License' },
  template: 'chat',
  tasks: [],
  sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
  createdAt: '2026-01-01T00:00:00.000Z',
})

type Change = Partial<Omit<ExportOptions, 'store' | 'format'>> & { gone?: readonly string[] }

/** Exports a store; images are the bytes that `recordsOf` said they are, but for those that are `gone`. */
export async function exportStore(
  store: ObjectStore,
  format: ExportFormat,
  { gone = [], ...change }: Change = {},
): Promise<{ folder: string; report: ExportReport }> {
  const folder = change.folder ?? (await tempFolder())
  const report = await exportRun({
    store,
    config: testConfig,
    format,
    folder,
    ports: {
      readImage: async (uri) => {
        const key = uri.replace('s3://test/', '')
        return gone.includes(key) ? null : bytesOf(key)
      },
      toJpeg: async (bytes) => Buffer.concat([Buffer.from('jpeg of '), bytes]),
    },
    imageMode: format.imageModes[0]!,
    stripsMetadata: false,
    where: null,
    split: null,
    checks: true,
    command: `export run --format ${format.name} --out out`,
    version: '0.0.0',
    clock: () => new Date('2026-01-02T00:00:00Z'),
    onProgress: () => {},
    ...change,
  })
  return { folder, report }
}
