// A GIF without transparency: the native decoder blackens what is transparent, where an image without alpha shows the
// colour that its palette has there. Knows the blocks of a GIF (GIF89a, sections 17 to 25), decodes nothing.

const extension = 0x21
const graphicControl = 0xf9

/** The same GIF, its first frame's transparent colour a colour like the others. What is no GIF comes back as it is. */
export function opaqueGif(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  for (const at of flagsBeforeFirstFrame(bytes)) copy[at] = (copy[at] ?? 0) & ~1
  return copy
}

/** Where the flags of each graphic control before the first frame are; their lowest bit says that a colour is transparent. */
function flagsBeforeFirstFrame(bytes: Buffer): number[] {
  const found: number[] = []
  const screenFlags = bytes[10] ?? 0
  let at = 13 + (screenFlags & 0x80 ? 3 * 2 ** ((screenFlags & 7) + 1) : 0)
  while (bytes[at] === extension) {
    if (bytes[at + 1] === graphicControl && at + 3 < bytes.length) found.push(at + 3)
    at += 2
    while ((bytes[at] ?? 0) > 0) at += 1 + (bytes[at] ?? 0)
    at += 1
  }
  return found
}
