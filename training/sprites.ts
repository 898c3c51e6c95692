// Rasterises the icons of every concept and style into one raw RGBA file the trainer memory-maps.
// Usage: node training/sprites.ts OUT_DIR [MODEL, as seen from here]. Knows icons, not scenes.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { codeOf, drawFile, drawLetters, installed, rasterise, readJson, readSet } from './icons.ts'

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
  /** A font of emoji, by its name and file; an absolute path is where Debian's package puts it. */
  font?: string
  fontFile?: string
  /** Where Debian's package puts drawings, each in a file of its own. */
  folder?: string
  /** A style of world.json whose shapes are each drawn around in black, and how wide, in shares of the icon. */
  inks?: string
  inkWidth?: number
}
/** One icon, straight alpha, [SIZE_PX, SIZE_PX, 4]; undefined where the style lacks the concept. */
type Draw = (concept: Concept) => Promise<Uint8Array | undefined>

const SIZE_PX = 96

const outDir = process.argv[2] ?? 'sprites'

const world = await readJson<World>(`${process.argv[3] ?? '../models/scenes-v2'}/world.json`)
const { styles: training } = await readJson<{ styles: TrainingStyle[] }>('icons/styles.json')
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
async function byWorld(style: string, inkWidth = 0): Promise<Draw> {
  const set = await readSet(`@iconify-json/${style}`)
  return async (concept) => {
    if (concept.skipIn?.includes(style)) return undefined
    return rasterise(set, concept.iconIn?.[style] ?? concept.icon, { size: SIZE_PX, inkWidth })
  }
}

async function byTrainingStyle(style: TrainingStyle): Promise<Draw> {
  if (style.inks !== undefined) return byWorld(style.inks, style.inkWidth)
  const draw = await iconsOf(style)
  const drawn = new Map(style.draws?.split(' ').map((item) => readPair(item, style)))
  return async (concept) => {
    const asked = style.draws === undefined ? concept.icon : drawn.get(concept.name)
    if (asked === undefined) return undefined
    const sprite = await draw(asked)
    if (sprite === undefined) throw new Error(`${style.name} has no icon "${asked}"; mend icons/styles.json`)
    return sprite
  }
}

/** Draws the icons of a manner by their names. */
async function iconsOf(style: TrainingStyle): Promise<(name: string) => Promise<Uint8Array | undefined>> {
  const { folder, font, fontFile = '', package: from } = style
  if (font !== undefined)
    return (name) => drawLetters(codeOf(name), { package: from, font, fontFile }, SIZE_PX)
  if (folder !== undefined) return (name) => drawFile(installed(join(folder, name), from), SIZE_PX)
  const set = await readSet(from)
  return (name) => rasterise(set, name, { size: SIZE_PX })
}

/** The concept, which an older world may lack, and the full name of its icon. */
function readPair(item: string, { suffix = '' }: TrainingStyle): [string, string] {
  const [name = item, icon = name] = item.split('=')
  return [name, `${icon}${suffix}`]
}
