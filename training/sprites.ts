// Rasterises the icons of every concept and style into one raw RGBA file the trainer memory-maps.
// Usage: node training/sprites.ts OUT_DIR [MODEL, as seen from here]. Knows icons, not scenes.
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import sharp, { type Sharp } from 'sharp'

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
/** What icons/styles.json says of a manner of drawing that only training uses. */
interface TrainingStyle {
  name: string
  package: string
  /** Ends the name of each of its icons. */
  suffix?: string
  /** `concept` or `concept=icon`, with spaces between; without it, every concept by its emoji. */
  draws?: string
  /** A font of emoji, by its name and file. */
  font?: string
  fontFile?: string
}
interface IconSet {
  width?: number
  height?: number
  icons: Record<string, { body: string; width?: number; height?: number }>
  aliases?: Record<string, { parent: string }>
}
/** One icon, straight alpha, [SIZE_PX, SIZE_PX, 4]; undefined where the style lacks the concept. */
type Draw = (concept: Concept) => Promise<Uint8Array | undefined>

const SIZE_PX = 96
const CLEAR = { r: 0, g: 0, b: 0, alpha: 0 }

const outDir = process.argv[2] ?? 'sprites'

const world = await readJson<World>(`${process.argv[3] ?? '../models/scenes-v2'}/world.json`)
const { styles: training } = await readJson<{ styles: TrainingStyle[] }>('icons/styles.json')
const emojiCodes = await readEmojiCodes()
const complete = [...world.styles.trained, ...world.styles.heldOut]
const shipped = [...complete, ...(world.styles.alsoTrained ?? [])]
const styles = [...shipped, ...training.map(({ name }) => name)]

const sprites: Uint8Array[] = []
for (const style of styles) {
  const ofTraining = training.find(({ name }) => name === style)
  const draw = ofTraining === undefined ? await byWorld(style) : await byTrainingStyle(ofTraining)
  for (const concept of world.concepts) {
    const sprite = await draw(concept)
    if (sprite === undefined && complete.includes(style))
      throw new Error(`${style} has no icon for "${concept.name}"`)
    // Nothing visible: the trainer takes another style.
    sprites.push(sprite ?? new Uint8Array(SIZE_PX * SIZE_PX * 4))
  }
}

await mkdir(outDir, { recursive: true })
await writeFile(join(outDir, 'sprites.rgba'), Buffer.concat(sprites))
await writeFile(
  join(outDir, 'sprites.json'),
  JSON.stringify({ sizePx: SIZE_PX, styles, concepts: world.concepts.map((c) => c.name) }),
)
console.log(`${sprites.length} sprites of ${SIZE_PX} px in ${outDir}`)

/** A style that world.json names. */
async function byWorld(style: string): Promise<Draw> {
  const set = await readJson<IconSet>(find(`@iconify-json/${style}/icons.json`))
  return async (concept) =>
    concept.skipIn?.includes(style) ? undefined : rasterise(set, concept.iconIn?.[style] ?? concept.icon)
}

async function byTrainingStyle(style: TrainingStyle): Promise<Draw> {
  if (style.font !== undefined) return byFont(style)
  const set = await readJson<IconSet>(find(`${style.package}/icons.json`))
  const drawn = new Map(style.draws?.split(' ').map((item) => readPair(item, style)))
  return async (concept) => {
    const asked = style.draws === undefined ? concept.icon : drawn.get(concept.name)
    if (asked === undefined) return undefined
    const sprite = await rasterise(set, asked)
    if (sprite === undefined) throw new Error(`${style.name} has no icon "${asked}"; mend icons/styles.json`)
    return sprite
  }
}

/** The concept, which an older world may lack, and the full name of its icon. */
function readPair(item: string, { suffix = '' }: TrainingStyle): [string, string] {
  const [name = item, icon = name] = item.split('=')
  return [name, `${icon}${suffix}`]
}

function byFont({ package: from, font = '', fontFile = '' }: TrainingStyle): Draw {
  const fontfile = fileURLToPath(find(`${from}/${fontFile}`))
  return async (concept) => {
    const points = codeOf(concept).split('-')
    const letters = points.map((point) => String.fromCodePoint(Number.parseInt(point, 16))).join('')
    // The selector asks for the drawing in black, also where a font of coloured emoji is installed.
    const text = `${letters.replaceAll('\uFE0F', '')}\uFE0E`
    return fit(sharp({ text: { text, font, fontfile, rgba: true, width: SIZE_PX, height: SIZE_PX } }))
  }
}

async function rasterise(set: IconSet, name: string): Promise<Uint8Array | undefined> {
  const icon = set.icons[name] ?? set.icons[set.aliases?.[name]?.parent ?? '']
  if (icon === undefined) return undefined
  const width = icon.width ?? set.width ?? 16
  const height = icon.height ?? set.height ?? 16
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 ${width} ${height}" width="${SIZE_PX}" height="${SIZE_PX}">${icon.body}</svg>`
  return fit(sharp(Buffer.from(svg), { density: 288 }))
}

async function fit(image: Sharp): Promise<Uint8Array> {
  const sized = image.resize(SIZE_PX, SIZE_PX, { fit: 'contain', background: CLEAR })
  return new Uint8Array(await sized.ensureAlpha().raw().toBuffer())
}

function codeOf(concept: Concept): string {
  const code = emojiCodes.get(concept.icon)
  if (code === undefined) throw new Error(`no emoji is called "${concept.icon}"`)
  return code
}

/** Unicode's code of every emoji, by the name of its icon. */
async function readEmojiCodes(): Promise<Map<string, string>> {
  const names = await readJson<Record<string, string>>(find('@iconify-json/noto/chars.json'))
  return new Map(Object.entries(names).map(([code, name]) => [name, code]))
}

/** A file of a package: of those in icons/, which only training needs, or else of the repository's. */
function find(file: string): URL {
  const own = new URL(`icons/node_modules/${file}`, import.meta.url)
  return existsSync(own) ? own : new URL(`../node_modules/${file}`, import.meta.url)
}

async function readJson<T>(file: string | URL): Promise<T> {
  return JSON.parse(await readFile(new URL(file, import.meta.url), 'utf8')) as T
}
