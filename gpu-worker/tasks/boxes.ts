// Boxes as the CogVLM family writes them in text: [[x0,y0,x1,y1;…]] per mille of the image. It does not know tasks.
import type { Box } from '../../schemas/task-output.ts'

/** One [[…]] of a text: where it stands, and the boxes that could be read from it. */
export type BoxGroup = {
  /** Offsets of the brackets in UTF-16 code units: [start, end). */
  start: number
  end: number
  boxes: Box[]
}

export type FoundBoxes = { groups: BoxGroup[]; repairs: string[] }

/** Boxes are written in thousandths of the width and height of the upright image. */
const perMille = 1000

/**
 * Finds every box group of an answer. Tolerant where the official parser drops boxes in silence: spaces,
 * decimals, values past the edge, corners in the wrong order, `],[` for `;` and an answer cut off inside a
 * box are read or left out, and each mending is told. One pass; the time is linear in the text.
 */
export function findBoxes(text: string): FoundBoxes {
  const groups: BoxGroup[] = []
  const repairs: string[] = []
  let from = text.indexOf('[[')
  while (from !== -1) {
    const end = endOfGroup(text, from)
    if (end !== null) {
      const { boxes, isClosed } = readGroup(text.slice(from, end), repairs)
      if (!isClosed) repairs.push('left out a box that the answer did not finish')
      groups.push({ start: from, end, boxes: isClosed ? boxes : [] })
    }
    from = text.indexOf('[[', end ?? from + 1)
  }
  return { groups, repairs }
}

/** Offset past a group's brackets, the text's end when it is cut off, null when these brackets hold no numbers. */
function endOfGroup(text: string, start: number): number | null {
  let at = start + 2
  while (at < text.length && /[\d\s.,;\-+\]]/.test(text.charAt(at))) {
    if (text.charAt(at) !== ']') {
      at += 1
      continue
    }
    // `] , [` between two boxes, as JSON would write a list of lists.
    const between = /^\]\s*[,;]?\s*\[(?!\[)/.exec(text.slice(at, at + 8))
    if (between === null) return at + (/^\]\s*\]/.exec(text.slice(at, at + 8))?.[0].length ?? 1)
    at += between[0].length
  }
  return at === text.length ? at : null
}

function readGroup(group: string, repairs: string[]): { boxes: Box[]; isClosed: boolean } {
  const isClosed = group.endsWith(']')
  if (isClosed && !/\]\s*\]$/.test(group)) repairs.push('took a single closing bracket for two')
  const inner = group.replace(/^\[\[/, '').replace(/(\]\s*)?\]$/, '')
  const tuples = inner.split(/;|\]\s*,?\s*\[/).filter((tuple) => tuple.trim() !== '')
  const boxes = isClosed ? tuples.flatMap((tuple) => readBox(tuple, repairs)) : []
  if (isClosed && tuples.length === 0) repairs.push('left out an empty pair of brackets')
  return { boxes, isClosed }
}

/** The box of four numbers, as a list of one, or an empty list. */
function readBox(tuple: string, repairs: string[]): Box[] {
  const parts = tuple
    .trim()
    .split(/\s*,\s*|\s+/)
    .filter((part) => part !== '')
  const numbers = parts.map(Number)
  const [x0, y0, x1, y1] = numbers
  const isBox = numbers.length === 4 && numbers.every(Number.isFinite)
  if (!isBox || x0 === undefined || y0 === undefined || x1 === undefined || y1 === undefined) {
    repairs.push(`left out "${tuple.trim().slice(0, 60)}", which is not four numbers`)
    return []
  }
  const clamped = [x0, y0, x1, y1].map((value) => Math.min(Math.max(value, 0), perMille))
  if (clamped.some((value, index) => value !== numbers[index]))
    repairs.push(`clamped the box ${tuple.trim()} to the image`)
  const [left = 0, top = 0, right = 0, bottom = 0] = clamped
  if (left > right || top > bottom) repairs.push(`reordered the corners of the box ${tuple.trim()}`)
  const box: Box = [
    fraction(Math.min(left, right)),
    fraction(Math.min(top, bottom)),
    fraction(Math.max(left, right)),
    fraction(Math.max(top, bottom)),
  ]
  if (box[0] < box[2] && box[1] < box[3]) return [box]
  repairs.push(`left out the box ${tuple.trim()}, which has no area`)
  return []
}

/** Of thousandths with up to three decimals, without the noise of dividing them. */
function fraction(value: number): number {
  return Math.round(value * 1000) / (1000 * perMille)
}

/** A box as the model reads it: thousandths, three digits each; the far edge is 999. */
export function writeBox(box: Box): string {
  const digits = box.map((value) =>
    String(Math.min(999, Math.floor(value * perMille + 1e-9))).padStart(3, '0'),
  )
  return `[[${digits.join(',')}]]`
}

/** The text with its box groups taken out and the spaces around them closed up. */
export function removeBoxes(text: string): { text: string; repairs: string[] } {
  const { groups, repairs } = findBoxes(text)
  let without = ''
  let at = 0
  for (const group of groups) {
    without = appendText(without, text.slice(at, group.start)).trimEnd()
    at = group.end
  }
  return { text: appendText(without, text.slice(at)).trim(), repairs }
}

/** Joins two pieces between which a box stood, with a space where two words would run together. */
export function appendText(before: string, after: string): string {
  const wouldRunTogether = /[\p{L}\p{N}]$/u.test(before) && /^[\p{L}\p{N}(]/u.test(after)
  return wouldRunTogether ? `${before} ${after}` : before + after
}
