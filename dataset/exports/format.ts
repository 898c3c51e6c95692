// What an export format is: sealed rows in, files out. It does not know where rows come from or files go.

export type ExportedFile = { bytes: Uint8Array; records: number }

export type ExportFormat = {
  /** Lower-case; part of the files' keys. */
  name: string
  /** With its dot. */
  extension: string
  /** Makes one file after the other, each within memory. `lines` are records as JSON. */
  files(lines: AsyncIterable<string>): AsyncGenerator<ExportedFile>
}
