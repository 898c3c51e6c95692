// CSV for eyes: one line a record, to be opened in a spreadsheet. Cells that a spreadsheet would run are defused.
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../schemas/errors.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { questionOf } from './core/content.ts'
import { askedOf, exchangesOf } from './core/conversation.ts'
import { perMilleDialect, readInline, writeInline } from './core/dialect.ts'
import type { ExportFiles, ExportFormat, FileSink, RawRow, WriterContext } from './core/format.ts'
import { dataFiles } from './core/row-format.ts'
import { field, text } from './core/rules.ts'

const columns = [
  'image',
  'width',
  'height',
  'task',
  'record_id',
  'status',
  'question',
  'answer',
  'checks',
  'model',
] as const
type Cells = Record<(typeof columns)[number], string>

/** A spreadsheet runs a cell that begins with one of these. */
const runs = /^[=+\-@\t\r\n]/
const owasp = 'owasp.org/www-community/attacks/CSV_Injection'

export const csv: ExportFormat = {
  name: 'csv',
  summary: 'CSV for eyes, one line a question or text; formulas defused',
  imageModes: ['reference', 'copy', 'link'],
  hubFiles: /^[^/]+\.csv$/,
  lost: [
    'where the words of a box begin, and all beyond thousandths of its sides',
    'that questions of one record belong together, but by their recordId',
    'sampling, timings, usage and provenance beyond the name of the model',
  ],
  open(context: WriterContext) {
    const files = new Map<string, FileSink>()
    const fileOf = async (stem: string) => {
      const known = files.get(stem)
      if (known !== undefined) return known
      const file = await context.sink.create(`${stem}.csv`)
      // The byte order mark makes spreadsheets read UTF-8.
      await file.write(`\u{feff}${columns.join(',')}\r\n`)
      files.set(stem, file)
      return file
    }
    return {
      async write(image) {
        const file = await fileOf(image.split ?? 'csv')
        const place = await image.place()
        const common = { image: place, width: String(image.width), height: String(image.height) }
        const lines = image.records.flatMap((record) => linesOf(record, common))
        for (const cells of lines)
          await file.write(`${columns.map((name) => quote(cells[name])).join(',')}\r\n`)
        return lines.length
      },
      async close() {
        if (files.size === 0) await fileOf('csv')
        for (const file of files.values()) await file.close()
      },
    }
  },
  rows: csvRows,
  async *read(files) {
    for await (const { value } of csvRows(files)) {
      const cell = (name: (typeof columns)[number]) => undefuse(text(field(value, name)))
      const { text: answer, regions } = readInline(cell('answer'), perMilleDialect)
      const turns = [{ question: cell('question'), answer }]
      const label = { recordId: cell('record_id'), text: null, turns, regions }
      yield {
        image: cell('image'),
        width: Number(cell('width')),
        height: Number(cell('height')),
        labels: [label],
      }
    }
  },
  rules: [
    {
      name: 'no-cell-runs',
      says: 'no cell begins with =, +, -, @, a tab or a line end, which a spreadsheet takes for a formula',
      source: owasp,
      problem({ file, number, value }) {
        const wrong = Object.entries(Object(value)).find(([, cell]) => runs.test(String(cell)))
        return wrong === undefined
          ? null
          : `${file}, line ${number}, ${wrong[0]}: ${String(wrong[1]).slice(0, 40)}`
      },
    },
    {
      name: 'as-many-cells-as-columns',
      says: 'every line has a cell for each column of the first line',
      source: 'RFC 4180, section 2',
      problem: ({ file, number, value }) =>
        Object.keys(Object(value)).includes('…') || Object.values(Object(value)).includes(undefined)
          ? `${file}, line ${number}`
          : null,
    },
  ],
}

function linesOf(record: LabelRecord, image: Pick<Cells, 'image' | 'width' | 'height'>): Cells[] {
  const said = exchangesOf(record).map((exchange) => ({
    question: askedOf(exchange, (box) => perMilleDialect.write([box])),
    answer: writeInline({ text: exchange.answer, regions: exchange.regions }, perMilleDialect),
  }))
  // What only asks has a line too: eyes look for every record.
  const turns = said.length > 0 ? said : [{ question: questionOf(record), answer: '' }]
  const checks = record.checks.map(({ name, pass, score }) =>
    `${name}: ${pass ? 'pass' : 'fail'} ${score ?? ''}`.trim(),
  )
  return turns.map(({ question, answer }) => ({
    ...image,
    task: record.task,
    record_id: record.recordId,
    status: record.status,
    question,
    answer,
    checks: checks.join('; '),
    model: record.model.name,
  }))
}

/** An apostrophe in front makes a spreadsheet show the text; one that was there is doubled, so that it comes back. */
function quote(cell: string): string {
  const safe = runs.test(cell) || cell.startsWith("'") ? `'${cell}` : cell
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

function undefuse(cell: string): string {
  return cell.startsWith("'") ? cell.slice(1) : cell
}

async function* csvRows(files: ExportFiles): AsyncGenerator<RawRow> {
  for (const file of dataFiles(files, 'csv')) {
    let names: string[] | null = null
    let number = 0
    for await (const cells of readCells(join(files.folder, file))) {
      number += 1
      if (names === null) {
        names = cells
        continue
      }
      const extra = cells.length > names.length ? { '…': cells.slice(names.length).join(',') } : {}
      const row = Object.fromEntries(names.map((name, index) => [name, cells[index]]))
      yield { file, section: '', number, value: { ...row, ...extra } }
    }
  }
}

/** The cells of each line, RFC 4180. Throws UserError where a quoted cell never ends. */
async function* readCells(path: string): AsyncGenerator<string[]> {
  let [cells, cell, isQuoted, wasQuote] = [[] as string[], '', false, false]
  for await (const chunk of createReadStream(path, 'utf8')) {
    for (const char of String(chunk)) {
      if (char === '\u{feff}' && cells.length === 0 && cell === '') continue
      if (isQuoted && !wasQuote) {
        if (char === '"') wasQuote = true
        else cell += char
        continue
      }
      if (char === '"') {
        if (wasQuote) cell += '"'
        isQuoted = true
        wasQuote = false
        continue
      }
      ;[isQuoted, wasQuote] = [false, false]
      if (char === ',' || char === '\n') {
        cells.push(cell)
        cell = ''
      } else if (char !== '\r') cell += char
      if (char !== '\n') continue
      yield cells
      cells = []
    }
  }
  if (isQuoted && !wasQuote)
    throw new UserError(`${path} ends inside a quoted cell; it was cut off, write it again`)
  if (cell !== '' || cells.length > 0) yield [...cells, cell]
}
