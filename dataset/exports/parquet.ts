// Parquet with typed columns, one row a record: for data frames and dataset hubs. The only file that knows the Parquet
// libraries.
import { join } from 'node:path'
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type SchemaElement,
} from 'hyparquet'
import { type BasicType, fileWriter, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer'
import { z } from 'zod'
import { InvariantError } from '../../schemas/errors.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { TaskOutput } from '../../schemas/task-output.ts'
import { contentOfRecord, questionOf } from './core/content.ts'
import type { ExportFiles, ExportFormat, ExportImage, RawRow } from './core/format.ts'
import { perStem } from './core/per-split.ts'
import { readPlainLabel } from './core/plain-label.ts'
import { dataFiles } from './core/row-format.ts'
import { field } from './core/rules.ts'

type Cell = string | number | Date | null
type Column = {
  type: BasicType
  nullable: boolean
  of(record: LabelRecord, image: ExportImage & { place0: string }): Cell
}

const columns: Readonly<Record<string, Column>> = {
  record_id: { type: 'STRING', nullable: false, of: ({ recordId }) => recordId },
  image: { type: 'STRING', nullable: false, of: (_, { place0 }) => place0 },
  key: { type: 'STRING', nullable: false, of: (_, { key }) => key },
  sha256: { type: 'STRING', nullable: false, of: (_, { sha256 }) => sha256 },
  width: { type: 'INT32', nullable: false, of: (_, { width }) => width },
  height: { type: 'INT32', nullable: false, of: (_, { height }) => height },
  perceptual_hash: { type: 'STRING', nullable: true, of: ({ source }) => source.perceptualHash ?? null },
  task: { type: 'STRING', nullable: false, of: ({ task }) => task },
  task_version: { type: 'INT32', nullable: false, of: ({ taskVersion }) => taskVersion },
  ordinal: { type: 'INT32', nullable: false, of: ({ ordinal }) => ordinal },
  status: { type: 'STRING', nullable: false, of: ({ status }) => status },
  question: { type: 'STRING', nullable: false, of: questionOf },
  text: { type: 'STRING', nullable: true, of: (record) => contentOfRecord(record).text },
  box_count: { type: 'INT32', nullable: false, of: boxCount },
  output: { type: 'STRING', nullable: false, of: ({ output }) => JSON.stringify(output) },
  finish_reason: { type: 'STRING', nullable: true, of: ({ finishReason }) => finishReason },
  output_tokens: { type: 'INT32', nullable: false, of: ({ usage }) => usage.outputTokens },
  model: { type: 'STRING', nullable: false, of: ({ model }) => model.name },
  model_digest: { type: 'STRING', nullable: false, of: ({ model }) => model.digest },
  licence: { type: 'STRING', nullable: false, of: ({ model }) => model.licence },
  seed: { type: 'INT64', nullable: false, of: ({ sampling }) => sampling.seed },
  created_at: { type: 'TIMESTAMP', nullable: false, of: ({ createdAt }) => new Date(createdAt) },
}

type Fields = Readonly<Record<string, { type: 'STRING' | 'INT32' | 'DOUBLE' | 'BOOLEAN'; nullable?: true }>>
type Nested = { fields: Fields; of(record: LabelRecord): Record<string, Cell | boolean>[] }

/** Columns that hold a list of structs each. */
const lists: Readonly<Record<string, Nested>> = {
  boxes: {
    fields: {
      phrase: { type: 'STRING' },
      phrase_number: { type: 'INT32' },
      start: { type: 'INT32', nullable: true },
      end: { type: 'INT32', nullable: true },
      x0: { type: 'DOUBLE' },
      y0: { type: 'DOUBLE' },
      x1: { type: 'DOUBLE' },
      y1: { type: 'DOUBLE' },
    },
    of: (record) =>
      contentOfRecord(record).regions.flatMap(({ text, span, boxes }, number) =>
        boxes.map(([x0, y0, x1, y1]) => ({
          phrase: text,
          phrase_number: number,
          start: span?.start ?? null,
          end: span?.end ?? null,
          x0,
          y0,
          x1,
          y1,
        })),
      ),
  },
  turns: {
    fields: { question: { type: 'STRING' }, answer: { type: 'STRING' } },
    of: (record) => contentOfRecord(record).turns,
  },
  checks: {
    fields: {
      name: { type: 'STRING' },
      pass: { type: 'BOOLEAN' },
      score: { type: 'DOUBLE', nullable: true },
      evidence: { type: 'STRING' },
    },
    of: ({ checks }) => checks.map(({ name, pass, score, evidence }) => ({ name, pass, score, evidence })),
  },
}

/** Rows of one group: the writer holds one group in memory, a reader too. */
const groupRows = 5000

const Row = z.object({
  record_id: z.string(),
  image: z.string(),
  width: z.number(),
  height: z.number(),
  task: z.string(),
  question: z.string(),
  output: z.string(),
})

const specification = 'apache/parquet-format README.md and LogicalTypes.md'
const hub = 'huggingface/datasets src/datasets/packaged_modules/parquet/parquet.py'

export const parquet: ExportFormat = {
  name: 'parquet',
  summary: 'Parquet: typed columns, one row a record',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^[^/]+\.parquet$/,
  lost: [
    'raw answers, sampling but its seed, timings, and the tokens of prompts',
    'fields of the source (meta)',
  ],
  open({ sink }) {
    const files = perStem((stem) => new GroupWriter(join(sink.folder, `${stem}.parquet`)))
    return {
      async write(image) {
        const placed = { ...image, place0: await image.place() }
        for (const record of image.records) files.of(image.split ?? 'parquet').add(record, placed)
        return image.records.length
      },
      async close() {
        files.of(files.all()[0]?.[0] ?? 'parquet')
        for (const [, file] of files.all()) file.close()
      },
    }
  },
  rows: parquetRows,
  async *read(files) {
    for await (const { section, value } of parquetRows(files)) {
      if (section !== 'row') continue
      const { record_id: recordId, image, width, height, task, question, output } = Row.parse(value)
      const plain = { recordId, task, question, output: TaskOutput.parse(JSON.parse(output)) }
      yield { image, width, height, labels: [readPlainLabel(plain)] }
    }
  },
  rules: [
    {
      name: 'same-columns-in-every-file',
      says: 'every file has the same columns of the same types',
      source: hub,
      problem({ file, section, value }, { seen }) {
        if (section !== 'schema') return null
        seen.add(JSON.stringify(value))
        return seen.size > 1 ? `${file} has other columns than the files before it` : null
      },
    },
    {
      name: 'typed-columns',
      says: 'texts are strings of UTF-8, sizes are integers, times are timestamps, boxes are a list of structs',
      source: specification,
      problem({ file, section, value }) {
        if (section !== 'schema') return null
        const wanted = {
          record_id: 'UTF8',
          width: 'INT32',
          created_at: 'TIMESTAMP_MILLIS',
          output: 'UTF8',
          boxes: 'LIST',
        }
        const wrong = Object.entries(wanted).find(([name, type]) => field(value, name) !== type)
        return wrong === undefined
          ? null
          : `${file}: ${wrong[0]} is ${JSON.stringify(field(value, wrong[0]))}`
      },
    },
  ],
}

function boxCount(record: LabelRecord): number {
  return contentOfRecord(record).regions.reduce((sum, { boxes }) => sum + boxes.length, 0)
}

/** Gathers rows into groups of columns. */
class GroupWriter {
  readonly #writer: ParquetWriter
  readonly #file: ReturnType<typeof fileWriter>
  #cells = emptyGroup()
  #rows = 0

  constructor(path: string) {
    this.#file = fileWriter(path)
    this.#writer = new ParquetWriter({
      writer: this.#file,
      schema: schemaOf(),
      createdBy: 'coglabel',
    })
  }

  add(record: LabelRecord, image: ExportImage & { place0: string }): void {
    for (const [name, column] of Object.entries(columns)) this.#cells[name]?.push(column.of(record, image))
    for (const [name, list] of Object.entries(lists)) this.#cells[name]?.push(list.of(record))
    this.#rows += 1
    if (this.#rows >= groupRows) this.#flush()
  }

  close(): void {
    if (this.#rows > 0) this.#flush()
    void this.#writer.finish()
  }

  #flush(): void {
    void this.#writer.write({ columnData: columnData(this.#cells), rowGroupSize: groupRows })
    this.#cells = emptyGroup()
    this.#rows = 0
  }
}

type Cells = Record<string, (Cell | Record<string, Cell | boolean>[])[]>

function emptyGroup(): Cells {
  return Object.fromEntries([...Object.keys(columns), ...Object.keys(lists)].map((name) => [name, []]))
}

function columnData(cells: Cells) {
  return [...flatColumns(cells), ...Object.keys(lists).map((name) => ({ name, data: cells[name] ?? [] }))]
}

function flatColumns(cells: Cells) {
  return Object.entries(columns).map(([name, { type, nullable }]) => {
    const data = cells[name] ?? []
    return { name, type, nullable, data: type === 'INT64' ? data.map((cell) => BigInt(Number(cell))) : data }
  })
}

/** The flat columns as the library makes them, and behind them the lists, three levels each (LogicalTypes.md, Lists). */
function schemaOf(): SchemaElement[] {
  const [root, ...flat] = schemaFromColumnData({ columnData: flatColumns(emptyGroup()) })
  if (root === undefined) throw new InvariantError('the schema of the columns has no root')
  const nested = Object.entries(lists).flatMap(([name, { fields }]): SchemaElement[] => [
    {
      name,
      repetition_type: 'REQUIRED',
      num_children: 1,
      converted_type: 'LIST',
      logical_type: { type: 'LIST' },
    },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'REQUIRED', num_children: Object.keys(fields).length },
    ...Object.entries(fields).map(([field, { type, nullable }]): SchemaElement => {
      const repetition = {
        name: field,
        repetition_type: nullable === true ? 'OPTIONAL' : 'REQUIRED',
      } as const
      return type === 'STRING'
        ? { ...repetition, type: 'BYTE_ARRAY', converted_type: 'UTF8' }
        : { ...repetition, type }
    }),
  ])
  return [{ ...root, num_children: (root.num_children ?? 0) + Object.keys(lists).length }, ...flat, ...nested]
}

async function* parquetRows(files: ExportFiles): AsyncGenerator<RawRow> {
  for (const name of dataFiles(files, 'parquet')) {
    const file = await asyncBufferFromFile(join(files.folder, name))
    const metadata = await parquetMetadataAsync(file)
    const types = parquetSchema(metadata).children.map(({ element }) => [
      element.name,
      element.converted_type ?? element.type ?? 'GROUP',
    ])
    yield { file: name, section: 'schema', number: 1, value: Object.fromEntries(types) }
    const count = Number(metadata.num_rows)
    for (let start = 0; start < count; start += groupRows) {
      const rows = await parquetReadObjects({
        file,
        metadata,
        rowStart: start,
        rowEnd: Math.min(count, start + groupRows),
      })
      for (const [index, value] of rows.entries())
        yield { file: name, section: 'row', number: start + index + 1, value }
    }
  }
}
