// Rasterises emoji that no scene is asked about, each as many sets draw it, into one raw RGBA file.
// Usage: node training/emoji.ts OUT_DIR. A tower that tells these apart too has to see shapes, not drawings.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { drawLetters, type EmojiFont, emojiCodes, rasterise, readJson, readSet } from './icons.ts'

interface Kind {
  /** Unicode's, in hexadecimal with hyphens between. */
  code: string
  /** By the set they are from. */
  drawings: Map<string, Uint8Array>
}

const SIZE_PX = 64
const SETS = [
  'noto',
  'twemoji',
  'fluent-emoji-flat',
  'emojione',
  'noto-v1',
  'emojione-monotone',
  'fluent-emoji-high-contrast',
  'fxemoji',
  'fluent-emoji',
]
const FONTS = ['noto-emoji-light', 'noto-emoji-bold', 'symbola']
/** These are as old as the font Symbola, which draws an empty box for what came later. */
const OLD_SETS = ['emojione', 'fxemoji']
/** Skin tones, flags, keycaps, and people by what they do. */
const LEFT_OUT = /1f3f[b-f]|1f1e|1f1f|e00|20e3|200d-264|200d-1f9b|1f9d1|1f468|1f469/
const FEWEST_SETS = 3
const VISIBLE_ALPHA = 25
const FEWEST_VISIBLE_PX = 100

const outDir = process.argv[2] ?? 'emoji'

const asked = [...emojiCodes].filter(([, code]) => !LEFT_OUT.test(code))
const emoji = new Map<string, Kind>(asked.map(([name, code]) => [plain(name), { code, drawings: new Map() }]))
for (const set of SETS) await drawSet(set)
for (const font of FONTS) await drawFont(font)

const kinds = [...emoji]
  .flatMap(([name, { drawings }]) => (drawings.size < FEWEST_SETS ? [] : { name, drawings }))
  .toSorted((a, b) => (a.name < b.name ? -1 : 1))
await mkdir(outDir, { recursive: true })
await writeFile(
  join(outDir, 'emoji.rgba'),
  Buffer.concat(kinds.flatMap((kind) => [...kind.drawings.values()])),
)
await writeFile(
  join(outDir, 'emoji.json'),
  JSON.stringify({
    sizePx: SIZE_PX,
    kinds: kinds.map(({ name, drawings }) => ({ name, styles: [...drawings.keys()] })),
  }),
)
console.log(`${kinds.length} emoji of ${SIZE_PX} px in ${outDir}`)

async function drawSet(style: string): Promise<void> {
  const set = await readSet(`@iconify-json/${style}`)
  for (const name of Object.keys(set.icons)) {
    const kind = emoji.get(plain(name))
    const pixels = kind && (await rasterise(set, name, { size: SIZE_PX }))
    if (pixels && isVisible(pixels)) kind.drawings.set(style, pixels)
  }
}

async function drawFont(style: string): Promise<void> {
  const { styles } = await readJson<{ styles: (EmojiFont & { name: string })[] }>('icons/styles.json')
  const font = styles.find(({ name }) => name === style)
  if (font === undefined) throw new Error(`icons/styles.json has no font "${style}"`)
  for (const { code, drawings } of emoji.values()) {
    if (style === 'symbola' && !OLD_SETS.some((old) => drawings.has(old))) continue
    const pixels = await drawLetters(code, font, SIZE_PX)
    if (isVisible(pixels)) drawings.set(style, pixels)
  }
}

function isVisible(pixels: Uint8Array): boolean {
  return pixels.filter((value, at) => at % 4 === 3 && value > VISIBLE_ALPHA).length >= FEWEST_VISIBLE_PX
}

/** Sets spell names in their own ways. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}
