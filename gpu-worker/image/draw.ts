// Labels drawn over their image: boxes, names and the caption under it, and many such pictures on one sheet.
// It does not know records or where pictures come from. The one file besides decode.ts that uses sharp here.
import sharp from 'sharp'
import type { Box } from '../../schemas/task-output.ts'
import { baselineIn, fitText, layOutText, lineHeight, measureText, svgText } from './text-path.ts'

export type DrawnPhrase = {
  text: string
  boxes: readonly Box[]
  /** Where the words stand in the caption, in UTF-16 code units: [start, end). */
  span?: { start: number; end: number }
}

export type Drawing = {
  /** Upright, [height, width, 3]. */
  image: { rgb: Uint8Array; width: number; height: number }
  phrases: readonly DrawnPhrase[]
  caption: string
  /** Smaller text above the caption, for example the image's key. */
  title?: string
  /** Where things really are: drawn dashed. */
  expected?: readonly Box[]
}

/** Pictures are drawn this wide or as wide as the image is, within limits, so that text can be read on all of them. */
const minWidth = 640
const maxWidth = 1280
const maxHeight = 1600
/** A picture that is narrow because it is so tall still gets this much room for its caption. */
const minCaptionWidth = 360

const palette = [
  '#e0243f',
  '#0a6ff2',
  '#0c8a3e',
  '#c75000',
  '#8b2fc9',
  '#00808c',
  '#d4149c',
  '#7a5310',
  '#5a6b00',
  '#23307a',
]
const ink = '#1b1f27'
const paper = '#ffffff'

/** The labelled picture as a PNG. */
export async function drawLabels(drawing: Drawing): Promise<Buffer> {
  const { rgb, width, height } = drawing.image
  const wanted = Math.min(maxWidth, Math.max(minWidth, width))
  const scale = Math.min(wanted / width, maxHeight / height)
  const frame = {
    width: Math.max(1, Math.round(width * scale)),
    height: Math.max(1, Math.round(height * scale)),
  }
  const total = Math.max(minCaptionWidth, frame.width)
  // Lines and letters are measured in units that grow with the picture, so that all look alike side by side.
  const unit = Math.max(1, total / minWidth)
  const units = { width: frame.width / unit, height: frame.height / unit }
  const caption = drawCaption(drawing, total / unit)
  const captionHeight = Math.ceil(caption.height * unit)
  const left = Math.floor((total - frame.width) / 2)
  const picture = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .resize(frame.width, frame.height, { fit: 'fill', kernel: scale > 3 ? 'nearest' : 'lanczos3' })
    .png({ compressionLevel: 1 })
    .toBuffer()
  const boxes = svg(frame, { units, body: drawBoxes(drawing, units) })
  const strip = { width: total, height: captionHeight }
  const text = svg(strip, { units: { width: total / unit, height: captionHeight / unit }, body: caption.svg })
  return await sharp({
    create: { width: total, height: frame.height + captionHeight, channels: 3, background: paper },
  })
    .composite([
      { input: picture, left, top: 0 },
      { input: Buffer.from(boxes), left, top: 0 },
      { input: Buffer.from(text), left: 0, top: frame.height },
    ])
    .png({ compressionLevel: 9 })
    .toBuffer()
}

type Frame = { width: number; height: number }

/** An SVG of a size in pixels whose body is measured in units. */
function svg({ width, height }: Frame, { units, body }: { units: Frame; body: string }): string {
  const viewBox = `0 0 ${units.width.toFixed(3)} ${units.height.toFixed(3)}`
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="${viewBox}">${body}</svg>`
}

/** Boxes first, then all name tags, so that no box crosses a name. */
function drawBoxes({ phrases, expected = [] }: Drawing, frame: Frame): string {
  const lines: string[] = expected.map((box) => rectangle(box, { frame, colour: ink, dash: '7 6' }))
  const tags: string[] = []
  const taken: Rectangle[] = []
  for (const [index, { text, boxes }] of phrases.entries()) {
    const colour = colourOf(index)
    for (const box of boxes) {
      lines.push(rectangle(box, { frame, colour }))
      const tag = placeTag(text, { box: toPixels(box, frame), frame, taken })
      taken.push(tag.place)
      tags.push(drawTag(tag, colour))
    }
  }
  return lines.join('') + tags.join('')
}

function colourOf(index: number): string {
  return palette[index % palette.length] ?? ink
}

type Rectangle = { x: number; y: number; width: number; height: number }

function toPixels([x0, y0, x1, y1]: Box, { width, height }: Frame): Rectangle {
  return { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height }
}

/** A coloured line between two white ones, which stands out from any background. Kept inside the picture. */
function rectangle(
  box: Box,
  { frame, colour, dash }: { frame: Frame; colour: string; dash?: string },
): string {
  const inset = 3
  const { x, y, width, height } = toPixels(box, frame)
  const [x0, y0] = [Math.max(inset, x), Math.max(inset, y)]
  const [x1, y1] = [Math.min(frame.width - inset, x + width), Math.min(frame.height - inset, y + height)]
  const shape = `x="${x0.toFixed(1)}" y="${y0.toFixed(1)}" width="${Math.max(1, x1 - x0).toFixed(1)}" height="${Math.max(1, y1 - y0).toFixed(1)}" rx="3" fill="none"`
  const line = dash === undefined ? '' : ` stroke-dasharray="${dash}"`
  return `<rect ${shape} stroke="${paper}" stroke-width="6" stroke-opacity="0.9"/><rect ${shape} stroke="${colour}" stroke-width="3"${line}/>`
}

const tagSize = 17
const tagPadding = 7
const tagHeight = 25

type Tag = { text: string; place: Rectangle }

/** The place for a name that hides least: above its box, else below or inside, clear of the names placed before. */
function placeTag(
  text: string,
  { box, frame, taken }: { box: Rectangle; frame: Frame; taken: readonly Rectangle[] },
): Tag {
  const shown = fitText(text, { size: tagSize, maxWidth: frame.width - 2 * tagPadding - 4 })
  const width = measureText(shown, tagSize) + 2 * tagPadding
  const [above, below] = [box.y - tagHeight - 1, box.y + box.height + 1]
  const right = box.x + box.width - width
  const tops = [above, below, box.y + 3, box.y + box.height - tagHeight - 3]
  const candidates = tops.flatMap((y) => [box.x, right].map((x) => ({ x, y, width, height: tagHeight })))
  const inside = candidates.map((place) => clampInto(place, frame))
  const costs = inside.map((place, index) => {
    const moved = Math.abs(place.y - (candidates[index]?.y ?? 0))
    return taken.reduce((sum, other) => sum + sharedArea(place, other), 0) + (moved > 2 ? 200 : 0) + index
  })
  const best = costs.indexOf(Math.min(...costs))
  return { text: shown, place: inside[best] ?? { x: 0, y: 0, width, height: tagHeight } }
}

function clampInto(place: Rectangle, frame: Frame): Rectangle {
  return {
    ...place,
    x: Math.max(2, Math.min(frame.width - place.width - 2, place.x)),
    y: Math.max(2, Math.min(frame.height - place.height - 2, place.y)),
  }
}

function sharedArea(left: Rectangle, right: Rectangle): number {
  const width = Math.min(left.x + left.width, right.x + right.width) - Math.max(left.x, right.x)
  const height = Math.min(left.y + left.height, right.y + right.height) - Math.max(left.y, right.y)
  return width > 0 && height > 0 ? width * height : 0
}

function drawTag({ text, place }: Tag, colour: string): string {
  const { x, y, width, height } = place
  const baseline = baselineIn({ top: y, height, size: tagSize })
  return (
    `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" height="${height}" rx="4" fill="${colour}" stroke="${paper}" stroke-width="1.5"/>` +
    svgText(text, { x: x + tagPadding, y: baseline, size: tagSize, fill: paper })
  )
}

const captionSize = 21
const titleSize = 14
const margin = 16

/** The strip under the picture: the caption, each phrase that has boxes underlined in its colour. */
function drawCaption({ caption, title, phrases }: Drawing, width: number): { svg: string; height: number } {
  const maxWidth = width - 2 * margin
  const { pieces, lines } = layOutText(caption === '' ? '–' : caption, { size: captionSize, maxWidth })
  const titleHeight = title === undefined ? 0 : titleSize * 1.6
  const rowHeight = captionSize * lineHeight
  const shapes: string[] = []
  if (title !== undefined) {
    const text = fitText(title, { size: titleSize, maxWidth })
    shapes.push(svgText(text, { x: margin, y: margin + titleSize * 0.85, size: titleSize, fill: '#6b7280' }))
  }
  const owners = pieces.map(({ start, end }) =>
    phrases.findIndex(({ span }) => span !== undefined && start < span.end && end > span.start),
  )
  for (const [index, { text, x, line }] of pieces.entries()) {
    const top = margin + titleHeight + line * rowHeight
    const owner = owners[index] ?? -1
    const next = pieces[index + 1]
    const isJoined = next !== undefined && next.line === line && owners[index + 1] === owner
    const bare = isJoined ? next.x - x : measureText(text.replace(/[.,;:!?]+$/, ''), captionSize)
    if (owner !== -1)
      shapes.push(underline({ x: margin + x, width: bare, top: top + rowHeight, colour: colourOf(owner) }))
    const y = baselineIn({ top, height: rowHeight, size: captionSize })
    shapes.push(svgText(text, { x: margin + x, y, size: captionSize, fill: ink }))
  }
  return { svg: shapes.join(''), height: Math.ceil(2 * margin + titleHeight + lines * rowHeight) }
}

function underline({
  x,
  width,
  top,
  colour,
}: {
  x: number
  width: number
  top: number
  colour: string
}): string {
  return `<rect x="${x.toFixed(1)}" y="${(top - 4.5).toFixed(1)}" width="${width.toFixed(1)}" height="3.5" rx="1.5" fill="${colour}"/>`
}

export type SheetOptions = {
  columns: number
  tileWidth: number
  /** Writes 256 colours only: a third of the bytes, and no loss to drawings; photographs suffer. */
  isCompact?: boolean
}

const gap = 14
const sheetColour = '#e7e9ee'

/** Pictures side by side, each column filled where it is shortest, as one PNG. Throws nothing for an empty list: an empty sheet. */
export async function contactSheet(
  pictures: readonly Buffer[],
  { columns, tileWidth, isCompact = false }: SheetOptions,
): Promise<Buffer> {
  const used = Math.max(1, Math.min(columns, pictures.length))
  const heights = Array.from({ length: used }, () => gap)
  const tiles: { input: Buffer; left: number; top: number }[] = []
  for (const picture of pictures) {
    const { data, info } = await sharp(picture)
      .resize({ width: tileWidth })
      .png({ compressionLevel: 3 })
      .toBuffer({ resolveWithObject: true })
    const column = heights.indexOf(Math.min(...heights))
    const top = heights[column] ?? gap
    tiles.push({ input: data, left: gap + column * (tileWidth + gap), top })
    heights[column] = top + info.height + gap
  }
  const size = { width: gap + used * (tileWidth + gap), height: Math.max(...heights, 2 * gap) }
  return await sharp({ create: { ...size, channels: 3, background: sheetColour } })
    .composite(tiles)
    .png(
      isCompact ? { compressionLevel: 9, palette: true, effort: 10, dither: 0.5 } : { compressionLevel: 9 },
    )
    .toBuffer()
}
