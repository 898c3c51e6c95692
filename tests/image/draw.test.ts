// Labels over pictures: boxes are where they should be, text is outlines, and nothing odd breaks it.
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { contactSheet, drawLabels, type Drawing } from '../../gpu-worker/image/draw.ts'
import { escapeXml, fitText, layOutText, measureText, svgText } from '../../gpu-worker/image/text-path.ts'

const grey = (width: number, height: number) => ({
  rgb: new Uint8Array(width * height * 3).fill(128),
  width,
  height,
})

async function pixels(png: Buffer) {
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true })
  const at = (x: number, y: number) => [
    ...data.subarray((y * info.width + x) * 3, (y * info.width + x) * 3 + 3),
  ]
  return { at, width: info.width, height: info.height, data }
}

const drawing = (some: Partial<Drawing>): Drawing => ({
  image: grey(640, 480),
  caption: 'A dog.',
  phrases: [],
  ...some,
})

describe('a labelled picture', () => {
  it('has the line of a box on its sides and leaves its inside alone', async () => {
    const png = await drawLabels(drawing({ phrases: [{ text: 'a dog', boxes: [[0.25, 0.25, 0.75, 0.75]] }] }))
    const { at, width, height } = await pixels(png)
    expect(width).toBe(640)
    expect(height).toBeGreaterThan(500)
    for (const [x, y] of [
      [160, 240],
      [480, 240],
      [320, 360],
    ] as const)
      expect(at(x, y)).toEqual([224, 36, 63])
    expect(at(320, 240)).toEqual([128, 128, 128])
    expect(at(20, 20)).toEqual([128, 128, 128])
  })

  it('gives every phrase its colour, also under its words', async () => {
    const phrases = [
      {
        text: 'A dog',
        boxes: [[0.1, 0.5, 0.3, 0.9] as const].map((box) => [...box] as [number, number, number, number]),
        span: { start: 0, end: 5 },
      },
      {
        text: 'a cat',
        boxes: [[0.6, 0.5, 0.9, 0.9] as [number, number, number, number]],
        span: { start: 10, end: 15 },
      },
    ]
    const { at, height } = await pixels(await drawLabels(drawing({ caption: 'A dog and a cat.', phrases })))
    const strip = Array.from({ length: 640 * (height - 480) }, (_, index) =>
      at(index % 640, 480 + Math.floor(index / 640)).join(),
    )
    expect(strip).toContain('224,36,63')
    expect(strip).toContain('10,111,242')
  })

  it.each([
    { name: 'one pixel', image: grey(1, 1) },
    { name: 'very wide', image: grey(4000, 12) },
    { name: 'very tall', image: grey(9, 3000) },
  ])('can be $name', async ({ image }) => {
    const phrases = [
      {
        text: 'a thing with a rather long name',
        boxes: [[0, 0, 1, 1]] as [number, number, number, number][],
      },
    ]
    const { width, height } = await pixels(await drawLabels(drawing({ image, phrases })))
    expect(width).toBeLessThanOrEqual(1280)
    expect(height).toBeLessThanOrEqual(1800)
  })

  it.each([
    ['markup', '</svg><script>&"\'<!-- ]]>'],
    ['control characters and lone surrogates', 'a\u0000b\u001b[31m\ud800c\ufffe'],
    ['other scripts', '一只狗 и кошка 🐶 café'],
    ['one endless word', 'x'.repeat(3000)],
    ['nothing', ''],
  ])('can say %s', async (_, text) => {
    const phrases = [
      {
        text,
        boxes: [[0.1, 0.1, 0.5, 0.5]] as [number, number, number, number][],
        span: { start: 0, end: text.length },
      },
    ]
    const { width } = await pixels(await drawLabels(drawing({ caption: text, title: text, phrases })))
    expect(width).toBe(640)
  })
})

describe('text', () => {
  it('is outlines without a font as far as Latin goes, and a text element beyond', () => {
    const place = { x: 0, y: 10, size: 20, fill: 'black' }
    expect(svgText('A dog, déjà vu!', place)).not.toContain('<text')
    expect(svgText('A dog', place)).toContain('<path')
    expect(svgText('狗 & <b>', place)).toContain('>狗 &amp; &lt;b&gt;</text>')
  })

  it('is escaped', () => {
    expect(escapeXml(`<a href="x">'&'</a>\u0007`)).toBe(
      '&lt;a href=&quot;x&quot;&gt;&apos;&amp;&apos;&lt;/a&gt;',
    )
  })

  it('is broken into lines that fit, offsets kept', () => {
    const text = 'A dog and two apples  on a chair, incomprehensibilities.'
    const maxWidth = 120
    const { pieces, lines } = layOutText(text, { size: 20, maxWidth })
    expect(lines).toBeGreaterThan(3)
    for (const { text: piece, start, end, x } of pieces) {
      expect(text.slice(start, end)).toBe(piece)
      expect(x + measureText(piece, 20)).toBeLessThanOrEqual(maxWidth + 1e-9)
    }
    expect(pieces.map((piece) => piece.text).join('')).toBe(text.replaceAll(' ', ''))
  })

  it('is cut with an ellipsis', () => {
    expect(fitText('short', { size: 20, maxWidth: 200 })).toBe('short')
    const cut = fitText('a very long title that cannot fit', { size: 20, maxWidth: 100 })
    expect(cut).toMatch(/…$/)
    expect(measureText(cut, 20)).toBeLessThanOrEqual(100)
  })
})

it('puts pictures on a sheet, and an empty sheet is a picture too', async () => {
  const tile = await drawLabels(drawing({}))
  const { width, height } = await pixels(
    await contactSheet([tile, tile, tile], { columns: 2, tileWidth: 200 }),
  )
  expect(width).toBe(2 * 200 + 3 * 14)
  expect(height).toBeGreaterThan(300)
  expect((await pixels(await contactSheet([], { columns: 4, tileWidth: 200 }))).height).toBeGreaterThan(0)
})
