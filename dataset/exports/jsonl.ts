// Sealed rows as gzipped lines of JSON, the records as they are. It does not know tasks.
import { packLines } from '../parts.ts'
import type { ExportedFile, ExportFormat } from './format.ts'

/** Text of one file before compression. */
const maxFileChars = 64 * 1024 * 1024

export const jsonlFormat: ExportFormat = { name: 'jsonl', extension: '.jsonl.gz', files: jsonlFiles }

/** Exported for tests, which want small files. */
export async function* jsonlFiles(
  lines: AsyncIterable<string>,
  maxChars = maxFileChars,
): AsyncGenerator<ExportedFile> {
  let held: string[] = []
  let chars = 0
  for await (const line of lines) {
    if (held.length > 0 && chars + line.length > maxChars) {
      yield { bytes: packLines(held), records: held.length }
      held = []
      chars = 0
    }
    held.push(line)
    chars += line.length
  }
  if (held.length > 0) yield { bytes: packLines(held), records: held.length }
}
