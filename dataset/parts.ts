// Parts: the records of one micro-batch as one create-only object named by its content. It does not know tasks.
import { gunzipSync, gzipSync } from 'node:zlib'
import { UserError } from '../schemas/errors.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { sha256Hex } from './canonical-json.ts'
import { putInOpenWindow } from './part-windows.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** A hostile or broken object must not fill the memory when it is unpacked. */
const maxUnpackedBytes = 1024 * 1024 * 1024

export type Part = { name: string; bytes: Uint8Array }

/** Packs records, sorted by recordId, so the same records always make the same bytes and the same name. */
export function packPart(records: readonly LabelRecord[]): Part {
  const sorted = records.toSorted((left, right) => (left.recordId < right.recordId ? -1 : 1))
  const bytes = packLines(sorted.map((record) => JSON.stringify(record)))
  return { name: `${sha256Hex(bytes).slice(0, 40)}.jsonl.gz`, bytes }
}

/** Writes a part; when it returns, the records are durable. Writing the same part again changes nothing. */
export async function writePart(store: ObjectStore, records: readonly LabelRecord[]): Promise<string> {
  return await putInOpenWindow(store, packPart(records))
}

/** Gzip of lines with a fixed header: no time (RFC 1952 MTIME) and no operating system (OS 255). */
export function packLines(lines: readonly string[]): Uint8Array {
  const packed = gzipSync(lines.map((line) => `${line}\n`).join(''), { level: 6 })
  packed.fill(0, 4, 8)
  packed[9] = 255
  return new Uint8Array(packed)
}

/** The lines of a packed object's bytes; `name` is for the message when they are damaged. */
export function unpackLines(bytes: Uint8Array, name: string): string[] {
  try {
    const text = gunzipSync(bytes, { maxOutputLength: maxUnpackedBytes }).toString('utf8')
    return text === '' ? [] : text.replace(/\n$/, '').split('\n')
  } catch (error) {
    throw new UserError(`${name} is not readable gzip (${bytes.length} bytes); restore the file`, {
      cause: error,
    })
  }
}
