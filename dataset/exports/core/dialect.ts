// How boxes stand inside a text: a dialect writes those of a region and finds them again. It knows no format.
import type { Box } from '../../../schemas/task-output.ts'
import type { Region } from './content.ts'
import type { ReadRegion } from './format.ts'

export type Dialect = {
  /** The boxes of one region as text, without a space before it. */
  write(boxes: readonly Box[]): string
  /** Finds what `write` wrote; each match with the space before it. */
  pattern: RegExp
  /** Boxes of a match. */
  parse(match: string): Box[]
}

const number = String.raw`\d(?:\.\d+)?`

/** `[0.451, 0.105, 0.901, 0.471]`: fractions of three decimals, as in LLaVA's own prompts. */
export const fractionDialect: Dialect = {
  write: (boxes) => boxes.map((box) => `[${box.map((side) => side.toFixed(3)).join(', ')}]`).join(' '),
  pattern: new RegExp(String.raw`(?: \[${number}, ${number}, ${number}, ${number}\])+`, 'g'),
  parse: (match) =>
    [...match.matchAll(/\[([^\]]+)\]/g)].map(([, inner = '']) => toBox(inner.split(', ').map(Number))),
}

/** `[[451,105,901,471;381,535,731,952]]`: thousandths of three digits, as CogVLM writes them. */
export const perMilleDialect: Dialect = {
  write: (boxes) => `[[${boxes.map((box) => box.map((side) => perMille(side)).join(',')).join(';')}]]`,
  pattern: / \[\[\d{3}(?:[,;]\d{3})*\]\]/g,
  parse: (match) =>
    match
      .trim()
      .slice(2, -2)
      .split(';')
      .map((box) => toBox(box.split(',').map((side) => Number(side) / 1000))),
}

function perMille(side: number): string {
  return String(Math.min(999, Math.max(0, Math.round(side * 1000)))).padStart(3, '0')
}

function toBox([x0 = 0, y0 = 0, x1 = 0, y1 = 0]: readonly number[]): Box {
  return [x0, y0, x1, y1]
}

/** What a region says that was looked for and is not there. */
export const absentAnswer = 'It is not in the image.'

/** A text with the boxes of its regions behind their words. */
export function writeInline(
  { text, regions }: { text: string; regions: readonly Region[] },
  dialect: Dialect,
): string {
  let written = ''
  let from = 0
  for (const { span, boxes } of regions.toSorted(byEnd)) {
    if (span === null) continue
    written += `${text.slice(from, span.end)} ${dialect.write(boxes)}`
    from = span.end
  }
  return written + text.slice(from)
}

function byEnd(left: Region, right: Region): number {
  return (left.span?.end ?? 0) - (right.span?.end ?? 0)
}

/** Parts the boxes from a text; each region ends where its boxes stood. Where its words begin is lost. */
export function readInline(written: string, dialect: Dialect): { text: string; regions: ReadRegion[] } {
  const regions: ReadRegion[] = []
  let text = ''
  let from = 0
  for (const match of written.matchAll(dialect.pattern)) {
    text += written.slice(from, match.index)
    from = match.index + match[0].length
    regions.push({ text: null, start: null, end: text.length, boxes: dialect.parse(match[0]) })
  }
  return { text: text + written.slice(from), regions }
}
