// Small real images made on the spot: uncompressed-looking but valid PNGs, no decoder needed.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'

/** A valid PNG of one colour, `size` pixels a side; each colour gives other bytes. */
export function solidPng([red, green, blue]: readonly [number, number, number], size = 8): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(size, 0)
  header.writeUInt32BE(size, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const row = Buffer.from([0, ...Array.from({ length: size }, () => [red, green, blue]).flat()])
  const pixels = deflateSync(Buffer.concat(Array.from({ length: size }, () => row)))
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  return Buffer.concat([
    signature,
    pngChunk('IHDR', header),
    pngChunk('IDAT', pixels),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}

/** The n-th of 16 million different images. */
export function numberedPng(n: number): Buffer {
  return solidPng([n & 255, (n >> 8) & 255, (n >> 16) & 255])
}

/** Writes `count` different images as 00000.png, 00001.png, … in folders of a thousand. */
export async function writeImages(folder: string, count: number): Promise<string[]> {
  const keys = Array.from(
    { length: count },
    (_, n) => `${Math.floor(n / 1000)}/${String(n).padStart(5, '0')}.png`,
  )
  for (const [n, key] of keys.entries()) {
    await mkdir(dirname(join(folder, key)), { recursive: true })
    await writeFile(join(folder, key), numberedPng(n))
  }
  return keys
}

/** A chunk of a PNG with its checksum. */
export function pngChunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  checksum.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, checksum])
}

/** A valid PNG of 81 megapixels in 80 kB that takes a second or so, and a quarter of a gigabyte, to decode. */
export function slowPng(side = 9000): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const pixels = deflateSync(Buffer.alloc((1 + 3 * side) * side), { level: 1 })
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    pngChunk('IHDR', header),
    pngChunk('IDAT', pixels),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}
