// Small photographs of nothing: real JPEGs of about 10 kB. It does not know what is done with them.
import sharp from 'sharp'
import { seededRandom } from './seeded-random.ts'

const [width, height] = [200, 150]

/** A JPEG of 200 x 150 pixels and about 10 kB; each number gives other pixels. */
export async function numberedPhoto(n: number): Promise<Buffer> {
  const random = seededRandom(n + 1)
  const waves = Array.from({ length: 9 }, () => random() * 0.2)
  const rgb = Buffer.alloc(width * height * 3)
  for (let at = 0; at < rgb.length; at += 1) {
    const [x, y, channel] = [Math.floor(at / 3) % width, Math.floor(at / 3 / width), at % 3]
    const [across = 0, down = 0, twist = 0] = waves.slice(channel * 3, channel * 3 + 3)
    const smooth = 128 + 70 * Math.sin(x * across + y * twist) + 40 * Math.cos(y * down)
    // The grain is what a sensor adds, and what most bytes of a photograph are spent on.
    rgb[at] = Math.max(0, Math.min(255, smooth + (random() - 0.5) * 24))
  }
  return await sharp(rgb, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer()
}
