// Decode, resize and normalise against Pillow's and torch's own output, and the hash on images made here.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import { perceptualHash } from '../../gpu-worker/image/perceptual-hash.ts'
import { preprocess, resizeBicubic } from '../../gpu-worker/image/preprocess.ts'
import { readGoldenTensors } from '../helpers/read-safetensors.ts'

const data = new URL('../golden/data/', import.meta.url).pathname
const golden: {
  mean: number[]
  std: number[]
  images: { file: string; sizes: number[]; float_sizes: number[] }[]
} = JSON.parse(await readFile(join(data, 'preprocess/golden.json'), 'utf8'))
const tensors = readGoldenTensors(join(data, 'preprocess/golden.safetensors'))

async function decodeGolden(file: string) {
  const result = await decodeImage(await readFile(join(data, 'images', file)))
  if (!result.ok) throw new Error(result.failure.message)
  return result.image
}

describe.each(golden.images)('$file', ({ file, sizes, float_sizes }) => {
  const expected = (name: string) =>
    tensors.get(`${file}.${name}`) ?? tensors.get(`${file.replace(/\..*/, '')}.${name}`)!

  it('decodes to the pixels Pillow gives', async () => {
    const image = await decodeGolden(file)
    expect([image.height, image.width, 3]).toEqual(expected('rgb').shape)
    expect(Buffer.compare(image.rgb, expected('rgb').bytes)).toBe(0)
  })

  it.each(sizes)('is squashed to %i pixels exactly as by Pillow', async (size) => {
    const { rgb, width, height } = await decodeGolden(file)
    expect(
      Buffer.compare(resizeBicubic({ rgb, width, height, size }), expected(`resized${size}`).bytes),
    ).toBe(0)
  })

  it.each(float_sizes)('is normalised at %i pixels as by torch', async (size) => {
    const { rgb, width, height } = await decodeGolden(file)
    const pixels = preprocess({ rgb, width, height, size, mean: golden.mean, std: golden.std })
    const wanted = new Float32Array(expected(`tensor${size}`).bytes.buffer)
    expect(pixels.length).toBe(wanted.length)
    expect(
      pixels.reduce((worst, value, at) => Math.max(worst, Math.abs(value - wanted[at]!)), 0),
    ).toBeLessThanOrEqual(1e-6)
  })
})

it('resizes shapes of one pixel and leaves its input alone', () => {
  for (const [width, height] of [
    [1, 1],
    [1, 5000],
    [5000, 1],
    [8, 8],
  ] as const) {
    const rgb = new Uint8Array(width * height * 3).fill(77)
    const resized = resizeBicubic({ rgb, width, height, size: 8 })
    expect(resized).toEqual(new Uint8Array(8 * 8 * 3).fill(77))
    expect(resized.buffer).not.toBe(rgb.buffer)
  }
})

describe('the perceptual hash', () => {
  const grey = (width: number, height: number, value: (x: number, y: number) => number) => ({
    rgb: Uint8Array.from({ length: width * height * 3 }, (_, at) =>
      value(Math.floor(at / 3) % width, Math.floor(at / 3 / width)),
    ),
    width,
    height,
  })

  it('is all ones where brightness falls to the right, and zero where it rises or stays', () => {
    expect(perceptualHash(grey(90, 80, (x) => 255 - x))).toBe('ffffffffffffffff')
    expect(perceptualHash(grey(90, 80, (x) => x))).toBe('0000000000000000')
    expect(perceptualHash(grey(1, 1, () => 9))).toBe('0000000000000000')
  })

  it('changes little when the image is shrunk and much when it is another', async () => {
    const shapes = await decodeGolden('shapes_171x243.png')
    const photo = await decodeGolden('photo_133x97.jpg')
    const small = { rgb: resizeBicubic({ ...shapes, size: 100 }), width: 100, height: 100 }
    const distance = (a: string, b: string) =>
      (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(2).replaceAll('0', '').length
    expect(distance(perceptualHash(shapes), perceptualHash(small))).toBeLessThan(8)
    expect(distance(perceptualHash(shapes), perceptualHash(photo))).toBeGreaterThan(10)
  })
})
