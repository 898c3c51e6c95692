// Rasterises the icons of every concept and style into one raw RGBA file the trainer memory-maps.
// Usage: node training/sprites.ts OUT_DIR [MODEL, as seen from here]. Knows icons, not scenes.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import sharp from 'sharp'

interface Concept {
  name: string
  icon: string
  /** Styles that spell the icon's name differently. */
  iconIn?: Record<string, string>
  /** Styles whose icon of that name shows something else. */
  skipIn?: string[]
}
interface World {
  styles: { trained: string[]; heldOut: string[]; alsoTrained?: string[] }
  concepts: Concept[]
}
interface IconSet {
  width?: number
  height?: number
  icons: Record<string, { body: string; width?: number; height?: number }>
  aliases?: Record<string, { parent: string }>
}

const SIZE_PX = 96

const outDir = process.argv[2] ?? 'sprites'

const worldFile = new URL(`${process.argv[3] ?? '../models/scenes-v2'}/world.json`, import.meta.url)
const world = JSON.parse(await readFile(worldFile, 'utf8')) as World
const alsoTrained = world.styles.alsoTrained ?? []
const styles = [...world.styles.trained, ...world.styles.heldOut, ...alsoTrained]

const sprites: Uint8Array[] = []
for (const style of styles) {
  const file = new URL(`../node_modules/@iconify-json/${style}/icons.json`, import.meta.url)
  const set = JSON.parse(await readFile(file, 'utf8')) as IconSet
  for (const concept of world.concepts) sprites.push(await rasterise(set, style, concept))
}

await mkdir(outDir, { recursive: true })
await writeFile(join(outDir, 'sprites.rgba'), Buffer.concat(sprites))
await writeFile(
  join(outDir, 'sprites.json'),
  JSON.stringify({ sizePx: SIZE_PX, styles, concepts: world.concepts.map((c) => c.name) }),
)
console.log(`${sprites.length} sprites of ${SIZE_PX} px in ${outDir}`)

/** One icon, straight alpha, [SIZE_PX, SIZE_PX, 4]. */
async function rasterise(set: IconSet, style: string, concept: Concept): Promise<Uint8Array> {
  const asked = concept.iconIn?.[style] ?? concept.icon
  const icon = set.icons[asked] ?? set.icons[set.aliases?.[asked]?.parent ?? '']
  const isMissing = icon === undefined || concept.skipIn?.includes(style)
  // Nothing visible: the trainer takes another style.
  if (isMissing && alsoTrained.includes(style)) return new Uint8Array(SIZE_PX * SIZE_PX * 4)
  if (icon === undefined) throw new Error(`${style} has no icon "${asked}" for "${concept.name}"`)
  const width = icon.width ?? set.width ?? 16
  const height = icon.height ?? set.height ?? 16
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 ${width} ${height}" width="${SIZE_PX}" height="${SIZE_PX}">${icon.body}</svg>`
  const pixels = await sharp(Buffer.from(svg), { density: 288 })
    .resize(SIZE_PX, SIZE_PX, { fit: 'contain', background: { r: 0, g: 0, b: 0, alpha: 0 } })
    .ensureAlpha()
    .raw()
    .toBuffer()
  return new Uint8Array(pixels)
}
