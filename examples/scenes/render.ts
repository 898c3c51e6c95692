// Scenes as pixels: icons drawn over a background, and the exact box of what is visible of each. It knows no words.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import sharp from 'sharp'
import { z } from 'zod'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import type { Concept, World } from '../../schemas/world.ts'
import type { PixelBox, PlacedObject, ScenePlan } from './layout.ts'
import { below, between, normal, pick, type Random } from './random.ts'

/** Straight alpha, [height, width, 4]. */
type Raster = { rgba: Uint8Array; width: number; height: number }

/** An icon's SVG body and the part of its view box that is visible. */
type Icon = { body: string; viewBox: { x: number; y: number; width: number; height: number } }

export type Icons = {
  aspectOf: (style: string, concept: Concept) => number
  find: (style: string, concept: Concept) => Icon
}

/** A pixel is visible above a tenth of full opacity, as training/scenes.py has it. */
const visibleAlpha = 25
/** Side of the raster that an icon's visible part is measured on. */
const measuredPx = 256
/** Backgrounds are described at the size that the model sees (training/scenes.py). */
const describedPx = 168

const IconSet = z.object({
  width: z.number().optional(),
  height: z.number().optional(),
  icons: z.record(
    z.string(),
    z.object({ body: z.string(), width: z.number().optional(), height: z.number().optional() }),
  ),
  aliases: z.record(z.string(), z.object({ parent: z.string() })).optional(),
})

/** Loads and measures every concept in each style. Throws UserError when an icon set is not installed. */
export async function loadIcons(world: World, styles: readonly string[]): Promise<Icons> {
  const icons = new Map<string, Icon>()
  for (const style of styles) {
    const set = await readIconSet(style)
    for (const concept of world.concepts)
      icons.set(`${style}/${concept.name}`, await measureIcon(set, concept, style))
  }
  const find = (style: string, { name }: Concept): Icon => {
    const icon = icons.get(`${style}/${name}`)
    if (icon === undefined) throw new InvariantError(`the icon of ${name} in ${style} was not loaded`)
    return icon
  }
  const aspectOf = (style: string, concept: Concept) => {
    const { width, height } = find(style, concept).viewBox
    return width / height
  }
  return { find, aspectOf }
}

async function readIconSet(style: string): Promise<z.infer<typeof IconSet>> {
  const name = `@iconify-json/${style}/icons.json`
  try {
    return IconSet.parse(JSON.parse(await readFile(createRequire(import.meta.url).resolve(name), 'utf8')))
  } catch (error) {
    throw new UserError(`the icon set ${name} cannot be read; install the devDependencies with npm ci`, {
      cause: error,
    })
  }
}

async function measureIcon(set: z.infer<typeof IconSet>, concept: Concept, style: string): Promise<Icon> {
  const asked = concept.iconIn?.[style] ?? concept.icon
  const icon = set.icons[asked] ?? set.icons[set.aliases?.[asked]?.parent ?? '']
  if (icon === undefined)
    throw new UserError(`${style} has no icon "${asked}" for ${concept.name}; mend world.json`)
  const whole = { x: 0, y: 0, width: icon.width ?? set.width ?? 16, height: icon.height ?? set.height ?? 16 }
  const raster = await rasterise(
    { body: icon.body, viewBox: whole },
    { width: measuredPx, height: measuredPx },
  )
  const [x0, y0, x1, y1] = visibleBox(raster)
  const [unitX, unitY] = [whole.width / measuredPx, whole.height / measuredPx]
  const viewBox = { x: x0 * unitX, y: y0 * unitY, width: (x1 - x0) * unitX, height: (y1 - y0) * unitY }
  return { body: icon.body, viewBox }
}

async function rasterise(icon: Icon, { width, height }: { width: number; height: number }): Promise<Raster> {
  const { x, y, width: w, height: h } = icon.viewBox
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" preserveAspectRatio="none" ' +
    `viewBox="${x} ${y} ${w} ${h}" width="${width}" height="${height}">${icon.body}</svg>`
  const { data, info } = await sharp(Buffer.from(svg))
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  if (info.width !== width || info.height !== height || info.channels !== 4)
    throw new InvariantError(`an icon came out ${info.width} x ${info.height} x ${info.channels}`)
  return { rgba: data, width, height }
}

/** The smallest box around every visible pixel. */
function visibleBox({ rgba, width, height }: Raster): PixelBox {
  let [x0, y0, x1, y1] = [width, height, 0, 0]
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if ((rgba[(y * width + x) * 4 + 3] ?? 0) <= visibleAlpha) continue
      x0 = Math.min(x0, x)
      y0 = Math.min(y0, y)
      x1 = Math.max(x1, x + 1)
      y1 = Math.max(y1, y + 1)
    }
  }
  if (x0 >= x1) throw new InvariantError(`nothing is visible of ${width} x ${height} pixels`)
  return [x0, y0, x1, y1]
}

export type RenderedScene = {
  /** [height, width, 3] */
  rgb: Uint8Array
  width: number
  height: number
  /** Of the plan's objects, in its order: the whole object, also where another covers it. */
  boxes: PixelBox[]
}

/** Draws a plan: background, objects in their order, then the light of the whole picture (gain of each channel). */
export async function renderScene(
  plan: ScenePlan,
  { icons, random }: { icons: Icons; random: Random },
): Promise<RenderedScene> {
  const { width, height } = plan
  const canvas = drawBackground(plan, random)
  const boxes: PixelBox[] = []
  for (const object of plan.objects)
    boxes.push(await drawObject({ canvas, canvasWidth: width, object, icons }))
  const gain = [0, 1, 2].map(() => between(random, 0.85, 1.15))
  const rgb = new Uint8Array(canvas.length)
  for (let at = 0; at < rgb.length; at += 1)
    rgb[at] = Math.min(255, Math.max(0, (canvas[at] ?? 0) * (gain[at % 3] ?? 1)))
  return { rgb, width, height, boxes }
}

type DrawObject = { canvas: Float32Array; canvasWidth: number; object: PlacedObject; icons: Icons }

/** Blends one icon into the canvas; returns the box of its visible pixels on the canvas. */
async function drawObject({ canvas, canvasWidth, object, icons }: DrawObject): Promise<PixelBox> {
  const { box, isFlipped } = object
  const [left, top, right, bottom] = box
  const [width, height] = [right - left, bottom - top]
  const drawn = await rasterise(icons.find(object.style, object.concept), { width, height })
  const raster = isFlipped ? flip(drawn) : drawn
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const from = (y * width + x) * 4
      const alpha = (raster.rgba[from + 3] ?? 0) / 255
      const to = ((top + y) * canvasWidth + left + x) * 3
      for (let channel = 0; channel < 3; channel += 1) {
        canvas[to + channel] =
          (canvas[to + channel] ?? 0) * (1 - alpha) + (raster.rgba[from + channel] ?? 0) * alpha
      }
    }
  }
  const [x0, y0, x1, y1] = visibleBox(raster)
  return [left + x0, top + y0, left + x1, top + y1]
}

function flip({ rgba, width, height }: Raster): Raster {
  const flipped = new Uint8Array(rgba.length)
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const row = Math.floor(pixel / width)
    const mirrored = row * width + (width - 1 - (pixel % width))
    flipped.set(rgba.subarray(pixel * 4, pixel * 4 + 4), mirrored * 4)
  }
  return { rgba: flipped, width, height }
}

/** [height, width, 3] floats in 0 to 255. */
function drawBackground({ width, height, background, pattern }: ScenePlan, random: Random): Float32Array {
  const base = background.rgb.map((channel) => channel + between(random, -14, 14))
  const lightAt = lightOf(pattern, { width, height, random })
  const canvas = new Float32Array(width * height * 3)
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const light = lightAt(x, y)
      for (let channel = 0; channel < 3; channel += 1, at += 1)
        canvas[at] = Math.min(255, Math.max(0, (base[channel] ?? 0) + light))
    }
  }
  return canvas
}

type Area = { width: number; height: number; random: Random }

/** What a pattern adds to the brightness at a pixel. */
function lightOf(
  pattern: ScenePlan['pattern'],
  { width, height, random }: Area,
): (x: number, y: number) => number {
  const unit = Math.min(width, height) / describedPx
  switch (pattern) {
    case 'plain':
      return () => 0
    case 'gradient': {
      const angle = between(random, 0, 2 * Math.PI)
      const strength = between(random, 60, 110)
      return (x, y) => (Math.cos(angle) * (x / width - 0.5) + Math.sin(angle) * (y / height - 0.5)) * strength
    }
    case 'noisy': {
      const cell = (2 + below(random, 7)) * unit
      const deviation = between(random, 9, 18)
      const columns = Math.floor(width / cell) + 1
      const cells = Array.from(
        { length: columns * (Math.floor(height / cell) + 1) },
        () => normal(random) * deviation,
      )
      return (x, y) => cells[Math.floor(y / cell) * columns + Math.floor(x / cell)] ?? 0
    }
    case 'striped': {
      const period = between(random, 10, 30) * unit
      const angle = pick(random, [0, 0.25, 0.5, 0.75]) * Math.PI
      const strength = between(random, 12, 22)
      return (x, y) =>
        Math.sin(((Math.cos(angle) * x + Math.sin(angle) * y) * 2 * Math.PI) / period) > 0
          ? strength
          : -strength
    }
  }
}

export type ImageFormat = 'png' | 'jpeg' | 'webp'

/** The picture as a file; with `orientation` 6 it is stored lying on its side, as phones do, and EXIF says so. */
export async function encodeScene(
  { rgb, width, height }: Pick<RenderedScene, 'rgb' | 'width' | 'height'>,
  { format, orientation = 1 }: { format: ImageFormat; orientation?: 1 | 6 },
): Promise<Buffer> {
  const upright = sharp(rgb, { raw: { width, height, channels: 3 } })
  const stored = orientation === 6 ? upright.rotate(270).withMetadata({ orientation }) : upright
  switch (format) {
    case 'png':
      return await stored.png({ compressionLevel: 9 }).toBuffer()
    case 'jpeg':
      return await stored.jpeg({ quality: 88, chromaSubsampling: '4:4:4' }).toBuffer()
    case 'webp':
      return await stored.webp({ quality: 88 }).toBuffer()
  }
}
