// Icons of sets, fonts and files as pixels: straight alpha, [size, size, 4]. Knows where packages lie, not what is asked for.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import sharp, { type Sharp } from 'sharp'

export interface IconSet {
  width?: number
  height?: number
  icons: Record<string, { body: string; width?: number; height?: number }>
  aliases?: Record<string, { parent: string }>
}
/** Pixels a side, and how wide shapes are drawn around in black, in shares of the icon. */
interface Look {
  size: number
  inkWidth?: number | undefined
}
/** A font of emoji, by its name and file; an absolute path is where Debian's package puts it. */
export interface EmojiFont {
  package: string
  font: string
  fontFile: string
}

const CLEAR = { r: 0, g: 0, b: 0, alpha: 0 }
const inked = 'stroke="#000" stroke-linejoin="round" stroke-linecap="round"'

export const emojiCodes = await readEmojiCodes()

export async function readSet(from: string): Promise<IconSet> {
  return readJson<IconSet>(find(`${from}/icons.json`))
}

/** Undefined where the set has no such icon. */
export async function rasterise(
  set: IconSet,
  name: string,
  { size, inkWidth = 0 }: Look,
): Promise<Uint8Array | undefined> {
  const icon = set.icons[name] ?? set.icons[set.aliases?.[name]?.parent ?? '']
  if (icon === undefined) return undefined
  const width = icon.width ?? set.width ?? 16
  const height = icon.height ?? set.height ?? 16
  const ink = inkWidth * width
  const view = `${-ink / 2} ${-ink / 2} ${width + ink} ${height + ink}`
  // Shapes with a stroke of their own keep it.
  const body = ink === 0 ? icon.body : `<g ${inked} stroke-width="${ink}">${icon.body}</g>`
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${view}" width="${size}" height="${size}">${body}</svg>`
  // Drawn larger than wanted, so that edges are smooth.
  return fit(sharp(Buffer.from(svg), { density: 288 }), size)
}

/** `code` is Unicode's, in hexadecimal with hyphens between. */
export async function drawLetters(code: string, from: EmojiFont, size: number): Promise<Uint8Array> {
  const points = code.split('-').map((point) => Number.parseInt(point, 16))
  // The selector asks for the drawing in black, also where a font of coloured emoji is installed.
  const drawn = `${String.fromCodePoint(...points).replaceAll('\uFE0F', '')}\uFE0E`
  // Without this, a font of emoji that is loaded as well comes first.
  const text = `<span fallback="false">${drawn}</span>`
  const { font, fontFile } = from
  const own = fontFile.startsWith('/') ? fontFile : fileURLToPath(find(`${from.package}/${fontFile}`))
  const fontfile = installed(own, from.package)
  return fit(sharp({ text: { text, font, fontfile, rgba: true, width: size, height: size } }), size)
}

/** A drawing may stand anywhere on its page. */
export async function drawFile(path: string, size: number): Promise<Uint8Array> {
  return fit(sharp(await sharp(path).trim().png().toBuffer()), size)
}

export function codeOf(emoji: string): string {
  const code = emojiCodes.get(emoji)
  if (code === undefined) throw new Error(`no emoji is called "${emoji}"`)
  return code
}

export function installed(path: string, from: string): string {
  if (!existsSync(path)) throw new Error(`${path} is missing; the package ${from} has it`)
  return path
}

export async function readJson<T>(file: string | URL): Promise<T> {
  return JSON.parse(await readFile(new URL(file, import.meta.url), 'utf8')) as T
}

async function fit(image: Sharp, size: number): Promise<Uint8Array> {
  const sized = image.resize(size, size, { fit: 'contain', background: CLEAR })
  return new Uint8Array(await sized.ensureAlpha().raw().toBuffer())
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
