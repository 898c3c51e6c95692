// The list of export formats. A new format is one file here and one line below.
import { UserError } from '../../schemas/errors.ts'
import type { ExportFormat } from './format.ts'
import { jsonlFormat } from './jsonl.ts'

export const exportFormats: readonly ExportFormat[] = [jsonlFormat]

/** The format of this name. Throws UserError when there is none. */
export function findFormat(name: string): ExportFormat {
  const format = exportFormats.find((candidate) => candidate.name === name)
  if (format !== undefined) return format
  throw new UserError(
    `there is no export format "${name}"; choose from ${exportFormats.map((known) => known.name).join(', ')}`,
  )
}
