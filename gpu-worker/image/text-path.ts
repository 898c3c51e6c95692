// Text as SVG without a font on the machine: letters become outlines. It does not know what the text is about.
import { ascent, descent, glyphLines } from './glyphs.ts'

const unitsPerEm = 1000
const byCharacter = new Map(
  glyphLines
    .trim()
    .split('\n')
    .map((line) => {
      const [code = '', advance = '', ...path] = line.split(' ')
      return [
        String.fromCodePoint(Number.parseInt(code, 16)),
        { advance: Number(advance), path: path.join(' ') },
      ]
    }),
)

/** Height of a line over its text size. */
export const lineHeight = 1.35

/** Width in pixels of a line at a size (pixels an em). */
export function measureText(text: string, size: number): number {
  return (Array.from(text).reduce((sum, character) => sum + advanceOf(character), 0) * size) / unitsPerEm
}

export type TextPlace = { x: number; y: number; size: number; fill: string }

/**
 * One line of text as an SVG element; `y` is the baseline. Outlines when every letter has one (Latin-1), else a
 * text element, which shows what the machine's own fonts can.
 */
export function svgText(text: string, { x, y, size, fill }: TextPlace): string {
  const plain = text.normalize('NFC').replaceAll(/\s/g, ' ')
  if (Array.from(plain).some((character) => !byCharacter.has(character))) {
    return `<text x="${round(x)}" y="${round(y)}" font-size="${size}" font-family="sans-serif" fill="${fill}" xml:space="preserve">${escapeXml(plain)}</text>`
  }
  const scale = size / unitsPerEm
  let units = 0
  const paths = Array.from(plain).map((character) => {
    const { advance, path } = byCharacter.get(character) ?? { advance: 0, path: '' }
    const at = units
    units += advance
    return path === '' ? '' : `<path transform="translate(${at})" d="${path}"/>`
  })
  return `<g fill="${fill}" transform="translate(${round(x)} ${round(y)}) scale(${scale})">${paths.join('')}</g>`
}

/** The baseline that centres letters of this size in a strip. */
export function baselineIn({ top, height, size }: { top: number; height: number; size: number }): number {
  return top + height / 2 + (((ascent - descent) / 2) * size) / unitsPerEm
}

/** The text cut to a width, with an ellipsis where something was left out. */
export function fitText(text: string, { size, maxWidth }: { size: number; maxWidth: number }): string {
  if (measureText(text, size) <= maxWidth) return text
  const characters = Array.from(text)
  while (characters.length > 0 && measureText(`${characters.join('')}…`, size) > maxWidth) characters.pop()
  return `${characters.join('').trimEnd()}…`
}

/** A word or a piece of one, with its offsets in the text: [start, end) in UTF-16 code units. */
export type TextPiece = { text: string; start: number; end: number; x: number; line: number }

/** Breaks text into lines no wider than `maxWidth`; a word that is wider by itself is broken too. */
export function layOutText(
  text: string,
  { size, maxWidth }: { size: number; maxWidth: number },
): { pieces: TextPiece[]; lines: number } {
  const space = measureText(' ', size)
  const pieces: TextPiece[] = []
  let [x, line] = [0, 0]
  for (const match of text.matchAll(/\S+/g)) {
    for (const part of breakWord(match[0], { size, maxWidth })) {
      const width = measureText(part.text, size)
      if (x > 0 && x + width > maxWidth) [x, line] = [0, line + 1]
      const start = match.index + part.start
      pieces.push({ text: part.text, start, end: start + part.text.length, x, line })
      x += width
    }
    x += space
  }
  return { pieces, lines: line + 1 }
}

function breakWord(
  word: string,
  { size, maxWidth }: { size: number; maxWidth: number },
): { text: string; start: number }[] {
  if (measureText(word, size) <= maxWidth) return [{ text: word, start: 0 }]
  const parts: { text: string; start: number }[] = []
  let [text, start] = ['', 0]
  for (const character of word) {
    if (text !== '' && measureText(text + character, size) > maxWidth) {
      parts.push({ text, start })
      start += text.length
      text = ''
    }
    text += character
  }
  return [...parts, { text, start }]
}

/** Letters that a system font has to draw are taken for square when they are East Asian or pictures. */
function advanceOf(character: string): number {
  return byCharacter.get(character)?.advance ?? ((character.codePointAt(0) ?? 0) >= 0x2e80 ? 1000 : 620)
}

export function escapeXml(text: string): string {
  const escapes: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&apos;',
  }
  // XML has no way to write most control characters and lone surrogates, so they are dropped.
  return text
    .toWellFormed()
    .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '')
    .replaceAll(/[&<>"']/g, (character) => escapes[character] ?? '')
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
