// A reader of small, trusted safetensors files for tests; the real one, for untrusted files, is in gpu-worker/model.
import { readFileSync } from 'node:fs'

/** Every tensor's bytes and shape by name. */
export function readGoldenTensors(path: string): Map<string, { shape: number[]; bytes: Uint8Array }> {
  const file = readFileSync(path)
  const headerBytes = Number(file.readBigUInt64LE(0))
  const header: Record<string, { shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    file.toString('utf8', 8, 8 + headerBytes),
  )
  const tensors = new Map<string, { shape: number[]; bytes: Uint8Array }>()
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [start, end] = entry.data_offsets
    tensors.set(name, {
      shape: entry.shape,
      bytes: Uint8Array.from(file.subarray(8 + headerBytes + start, 8 + headerBytes + end)),
    })
  }
  return tensors
}
