// The segments of a JPEG before its first scan, and that scan with all behind it as the last. It knows none's meaning.

/** Begins a scan, behind which no header stands. */
export const startOfScan = 0xda

/** From marker to end, the marker included. Ends early where the bytes are no segments. */
export function* jpegSegments(bytes: Buffer): Generator<{ marker: number; start: number; end: number }> {
  for (let at = 2; at + 2 <= bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1] ?? 0
    if (marker === 0xff) {
      // A fill byte.
      at += 1
      continue
    }
    if (marker === startOfScan) {
      yield { marker, start: at, end: bytes.length }
      return
    }
    if (at + 4 > bytes.length) return
    const end = at + 2 + bytes.readUInt16BE(at + 2)
    yield { marker, start: at, end }
    at = end
  }
}
