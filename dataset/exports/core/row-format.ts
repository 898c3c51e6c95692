// Formats whose files are rows: JSON Lines, or one JSON array. A format says its rows; this writes and reads them.
// It does not know any format.
import { join, posix } from 'node:path'
import { InvariantError } from '../../../schemas/errors.ts'
import type {
  ExportFiles,
  ExportFormat,
  ExportImage,
  ExportSink,
  FileSink,
  FormatWriter,
  RawRow,
  ReadImage,
  WriterContext,
} from './format.ts'
import { readJsonElements, readJsonLines } from './json-elements.ts'
import { perStem } from './per-stem.ts'

/** Files of every export that no format reads: what stands beside the data. */
const companions = new Set([
  'README.md',
  'splits.jsonl',
  'left-out.jsonl',
  'moved.jsonl',
  'dataset_info.json',
  'metadata.json',
])

export type RowLimits = { rows: number; bytes: number }

type RowFormat = Omit<ExportFormat, 'open' | 'rows' | 'read'> & {
  extension: 'json' | 'jsonl'
  /** A file ends before it would pass one of these; its name then has a number. */
  limits?: RowLimits
  rowsOf(image: ExportImage, context: WriterContext): Promise<unknown[]> | unknown[]
  /** What stands beside the data, written at the end. */
  finish?(context: WriterContext, files: readonly string[]): Promise<void>
  readRow(value: unknown): ReadImage | null
}

export function rowFormat(format: RowFormat): ExportFormat {
  const { extension, rowsOf, readRow, limits, finish, ...declared } = format
  const rows = (files: ExportFiles) => rowsOfFiles(files, extension)
  return {
    ...declared,
    open: (context) => openRows({ name: format.name, extension, limits, rowsOf, finish }, context),
    rows,
    async *read(files) {
      for await (const { value } of rows(files)) {
        const image = readRow(value)
        if (image !== null) yield image
      }
    },
  }
}

type Opened = Pick<RowFormat, 'name' | 'extension' | 'rowsOf'> & {
  limits: RowLimits | undefined
  finish: RowFormat['finish'] | undefined
}

function openRows({ name, extension, limits, rowsOf, finish }: Opened, context: WriterContext): FormatWriter {
  const files = perStem((stem) => new RowFile({ sink: context.sink, stem, extension, limits }))
  return {
    async write(image) {
      const rows = await rowsOf(image, context)
      for (const row of rows) await files.of(image.split ?? name).add(JSON.stringify(row))
      return rows.length
    },
    async close() {
      const made = files.all(name)
      for (const file of made) await file.close()
      await finish?.(
        context,
        made.flatMap((file) => file.names),
      )
    },
  }
}

type RowFileOptions = {
  sink: ExportSink
  stem: string
  extension: 'json' | 'jsonl'
  limits: RowLimits | undefined
}

/** One data file of rows, or several where there are limits. */
class RowFile {
  readonly names: string[] = []
  readonly #options: RowFileOptions
  #file: FileSink | null = null
  #rows = 0
  #bytes = 0

  constructor(options: RowFileOptions) {
    this.#options = options
  }

  async add(text: string): Promise<void> {
    const { limits, extension } = this.#options
    const bytes = Buffer.byteLength(text) + 2
    if (
      limits !== undefined &&
      this.#rows > 0 &&
      (this.#rows >= limits.rows || this.#bytes + bytes > limits.bytes)
    )
      await this.#end()
    const file = await this.#current()
    const before = extension === 'jsonl' ? '' : this.#rows === 0 ? '[\n' : ',\n'
    await file.write(`${before}${text}${extension === 'jsonl' ? '\n' : ''}`)
    this.#rows += 1
    this.#bytes += bytes
  }

  async close(): Promise<void> {
    await this.#current()
    await this.#end()
  }

  async #current(): Promise<FileSink> {
    if (this.#file !== null) return this.#file
    const { sink, stem, extension, limits } = this.#options
    const number = limits === undefined ? '' : `-${String(this.names.length).padStart(5, '0')}`
    const name = `${stem}${number}.${extension}`
    this.names.push(name)
    this.#file = await sink.create(name)
    return this.#file
  }

  async #end(): Promise<void> {
    if (this.#file === null) throw new InvariantError('a row file was ended twice')
    if (this.#options.extension === 'json') await this.#file.write(this.#rows === 0 ? '[]\n' : '\n]\n')
    await this.#file.close()
    this.#file = null
    this.#rows = 0
    this.#bytes = 0
  }
}

/** The data files of an export that lie at its top and have the extension. */
export function dataFiles({ names }: ExportFiles, extension: string): string[] {
  return names.filter(
    (name) => posix.dirname(name) === '.' && name.endsWith(`.${extension}`) && !companions.has(name),
  )
}

async function* rowsOfFiles(files: ExportFiles, extension: 'json' | 'jsonl'): AsyncGenerator<RawRow> {
  for (const name of dataFiles(files, extension)) {
    const path = join(files.folder, name)
    const elements = extension === 'json' ? readJsonElements(path) : readJsonLines(path)
    let number = 0
    for await (const element of elements) {
      number += 1
      yield { file: name, number, ...element }
    }
  }
}
