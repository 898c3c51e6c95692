// Boxes in text, between a model's dialect and the one that tasks read: [[x0,y0,x1,y1;…]] per mille. Pure. What cannot be
// read stays as it is, for the task to turn down.
import { z } from 'zod'
import type { Constraint } from '../../../schemas/constraint.ts'
import type { BoxDialect, PictureSize } from './box-dialects.ts'

export type BoxesAmid = Extract<Constraint, { kind: 'boxes' }>['text']

export type ReadText = { text: string; repairs: string[] }

/** What a model has to be told to answer in its dialect. */
export function askForBoxes({ style, shape, unit, key = 'bbox' }: BoxDialect, amid: BoxesAmid): string {
  if (style === 'json' && amid === 'around')
    return `Answer with JSON only: {"caption": "a sentence", "objects": [{"${key}": ${shape}, "label": "words of the sentence"}]}, boxes ${unit}.`
  if (style === 'json')
    return `Answer with JSON only: [{"${key}": ${shape}, "label": "its name"}], boxes ${unit}${amid === 'absence' ? ', or [] if it is not there' : ''}.`
  if (amid === 'around') return `Behind each thing that you name write its box as ${shape}, ${unit}.`
  return `Answer with boxes only, each as ${shape}, ${unit}${amid === 'absence' ? ', or with None. if it is not there' : ''}.`
}

/** A question whose boxes are those of tasks, with boxes as the model writes them. */
export function writeQuestion(question: string, dialect: BoxDialect, size: PictureSize): string {
  return question.replaceAll(/\[\[(\d{3}),(\d{3}),(\d{3}),(\d{3})\]\]/g, (_, ...digits: string[]) =>
    writeBox(
      digits.slice(0, 4).map((text) => Number(text) / 1000),
      dialect,
      size,
    ),
  )
}

/** An answer in a dialect, its boxes rewritten as tasks read them. The time is linear in the text. */
export function readAnswer(
  answer: string,
  { dialect, amid, size }: { dialect: BoxDialect; amid: BoxesAmid; size: PictureSize },
): ReadText {
  if (dialect.style !== 'json') return readInline(answer, dialect, size)
  const json = parseJson(answer)
  if (amid === 'around') {
    // Some answer in a sentence all the same; JSON that is no caption, or was cut off, is not read as one.
    const isJson = /^\s*(?:```|[{[])/.test(answer)
    const plain = isJson ? { text: answer, repairs: [] } : readInline(answer, dialect, size)
    return readCaption(json, dialect, size) ?? plain
  }
  if (Array.isArray(json) && json.length === 0) return { text: 'None.', repairs: [] }
  return readList(answer, dialect, size)
}

function writeBox(
  [x0 = 0, y0 = 0, x1 = 0, y1 = 0]: readonly number[],
  dialect: BoxDialect,
  size: PictureSize,
) {
  if (dialect.style === 'cells') return writeCells([x0, y0, x1, y1], Number(dialect.far))
  const [farX, farY] = farEdges(dialect, size)
  const sides = [x0 * farX, y0 * farY, x1 * farX, y1 * farY].map((side) => side.toFixed(dialect.decimals))
  const [left = '', top = '', right = '', bottom = ''] = sides
  return dialect.shape.replace('x0', left).replace('y0', top).replace('x1', right).replace('y1', bottom)
}

function farEdges({ far }: BoxDialect, { width, height }: PictureSize): [number, number] {
  return far === 'pixels' ? [width, height] : [far, far]
}

const side = String.raw`-?\d{1,7}(?:\.\d{1,9})?`
const comma = String.raw`\s{0,4},\s{0,4}`
const four = Array.from({ length: 4 }, () => `(${side})`).join(comma)
const two = String.raw`\(\s{0,4}(${side})${comma}(${side})\s{0,4}\)`
const numbersPattern = new RegExp(
  String.raw`(?<=[[;(]\s{0,4})${four}(?=\s{0,4}[\];)])|${two}\s{0,4},?\s{0,4}${two}`,
  'g',
)
const cellsPattern = /<patch_index_(\d{4})>\s{0,4}<patch_index_(\d{4})>/g

/** Marks that some families put around names and boxes; some servers leave them out of the answer. */
const marks =
  /<\/?(?:ref|box|quad|phrase|object|grounding|delimiter_of_multi_objects\/)>|<\|\/?(?:ref|det|grounding|object_ref_start|object_ref_end|box_start|box_end|begin_of_box|end_of_box)\|>/g

type Found = { start: number; end: number; box: string }

/** The boxes of an answer that is a list of them. */
function readList(answer: string, dialect: BoxDialect, size: PictureSize): ReadText {
  const found = findNumbers(answer, dialect, size)
  return { text: found.length === 0 ? answer : group(found), repairs: [] }
}

/** Boxes where they stand in the text. */
function readInline(answer: string, dialect: BoxDialect, size: PictureSize): ReadText {
  const text = answer.replaceAll(marks, '')
  const found = dialect.style === 'cells' ? findCells(text, dialect) : findNumbers(text, dialect, size)
  if (found.length === 0) return { text, repairs: [] }
  let written = ''
  let from = 0
  for (const run of joinRuns(found, text)) {
    const { start, end } = withBrackets(run, text)
    written += text.slice(from, start) + group(run)
    from = end
  }
  return cutUnfinished(written, text.slice(from))
}

function findNumbers(text: string, dialect: BoxDialect, size: PictureSize): Found[] {
  return [...text.matchAll(numbersPattern)].map((match) => {
    const [a = 0, b = 0, c = 0, d = 0] = match
      .slice(1)
      .filter((part) => part !== undefined)
      .map(Number)
    const corners = dialect.order === 'yxyx' ? [b, a, d, c] : [a, b, c, d]
    const [farX, farY] = farEdges(dialect, size)
    const box = corners.map((value, index) => perMille(value / (index % 2 === 0 ? farX : farY))).join(',')
    return { start: match.index, end: match.index + match[0].length, box }
  })
}

/** From the first square's corner to the last one's, both of them included. */
function findCells(text: string, { far }: BoxDialect): Found[] {
  const cells = Number(far)
  return [...text.matchAll(cellsPattern)].map((match) => {
    const [first, last] = [Number(match[1]), Number(match[2])]
    const corners = [
      first % cells,
      Math.floor(first / cells),
      (last % cells) + 1,
      Math.floor(last / cells) + 1,
    ]
    const box = corners.map((corner) => perMille(corner / cells)).join(',')
    return { start: match.index, end: match.index + match[0].length, box }
  })
}

function writeCells([x0, y0, x1, y1]: readonly [number, number, number, number], cells: number): string {
  const low = (value: number) => Math.min(cells - 1, Math.floor(value * cells))
  const high = (value: number) => Math.max(0, Math.ceil(value * cells) - 1)
  const index = (x: number, y: number) => `<patch_index_${String(y * cells + x).padStart(4, '0')}>`
  return index(low(x0), low(y0)) + index(high(x1), high(y1))
}

/** To a hundredth: pixels of a picture can be finer than thousandths. */
function perMille(fraction: number): number {
  return Math.round(fraction * 100_000) / 100
}

function group(found: readonly Found[]): string {
  return `[[${found.map(({ box }) => box).join(';')}]]`
}

/** Boxes with nothing but marks between them belong to the same words. */
function joinRuns(found: readonly Found[], text: string): Found[][] {
  const runs: Found[][] = []
  for (const one of found) {
    const run = runs.at(-1)
    const between = text.slice(run?.at(-1)?.end ?? 0, one.start)
    if (run !== undefined && between.length <= 16 && /^[\s,;[\]()]*$/.test(between)) run.push(one)
    else runs.push([one])
  }
  return runs
}

/** Offsets of a run with the brackets around it. */
function withBrackets(run: readonly Found[], text: string): { start: number; end: number } {
  const [start, end] = [run[0]?.start ?? 0, run.at(-1)?.end ?? 0]
  const before = /[[(][\s[(]*$/.exec(text.slice(Math.max(0, start - 8), start))?.[0].length ?? 0
  const after = /^[\s\])]*[\])]/.exec(text.slice(end, end + 8))?.[0].length ?? 0
  return { start: start - before, end: end + after }
}

/** Numbers behind a bracket that never closes: the answer ended inside a box. */
function cutUnfinished(written: string, rest: string): ReadText {
  const at = Math.max(rest.lastIndexOf('['), rest.lastIndexOf('('))
  const isUnfinished =
    at !== -1 && /^[[(][\d\s.,;()-]*$/.test(rest.slice(at)) && !/[\])]/.test(rest.slice(at))
  if (!isUnfinished) return { text: written + rest, repairs: [] }
  const repairs = ['left out a box that the answer did not finish']
  return { text: (written + rest.slice(0, at).replace(/[\s[(]+$/, '')).trimEnd(), repairs }
}

const Numbers = z.array(z.number()).length(4)
const Thing = z.object({
  label: z.string().optional(),
  text: z.string().optional(),
  bbox_2d: Numbers.optional(),
  box_2d: Numbers.optional(),
  bbox: Numbers.optional(),
  box: Numbers.optional(),
})
const Captioned = z.object({ caption: z.string(), objects: z.array(Thing).max(256) })

/** A caption with the box of each object behind its words; null for JSON that is none. */
function readCaption(json: unknown, dialect: BoxDialect, size: PictureSize): ReadText | null {
  const parsed = Captioned.safeParse(json)
  if (!parsed.success) return null
  const { caption, objects } = parsed.data
  const repairs: string[] = []
  const taken: { start: number; end: number; box: string }[] = []
  for (const thing of objects) {
    const label = thing.label ?? thing.text ?? ''
    const numbers = thing.bbox_2d ?? thing.box_2d ?? thing.bbox ?? thing.box
    const box = numbers && findNumbers(`[${numbers.join(',')}]`, dialect, size)[0]?.box
    const place = placeOf(label, caption, taken)
    if (box === undefined) repairs.push(`left out ${JSON.stringify(label)}, which has no box`)
    else if (place === null)
      repairs.push(`left out the box of ${JSON.stringify(label)}, which the caption does not name`)
    else taken.push({ ...place, box })
  }
  let text = ''
  let from = 0
  for (const [end, things] of Map.groupBy(
    taken.toSorted((a, b) => a.end - b.end),
    (thing) => thing.end,
  )) {
    text += `${caption.slice(from, end)} ${group(things)}`
    from = end
  }
  return { text: text + caption.slice(from), repairs }
}

/** Where a caption names a thing: the first place that is free, else the first, where several boxes are of one word. */
function placeOf(
  label: string,
  caption: string,
  taken: readonly { start: number; end: number }[],
): { start: number; end: number } | null {
  const words = label.trim().toLowerCase()
  if (words === '') return null
  const lower = caption.toLowerCase()
  // A few letters change their length, and with them every offset behind.
  const within = lower.length === caption.length ? lower : caption
  let first: { start: number; end: number } | null = null
  for (let at = within.indexOf(words); at !== -1; at = within.indexOf(words, at + words.length)) {
    const place = { start: at, end: at + words.length }
    first ??= place
    if (!taken.some(({ start, end }) => start < place.end && place.start < end)) return place
  }
  return first
}

/** The JSON of an answer, which may stand in a fence; undefined where there is none. */
function parseJson(answer: string): unknown {
  const start = answer.search(/[[{]/)
  const end = Math.max(answer.lastIndexOf(']'), answer.lastIndexOf('}'))
  if (start === -1 || end < start) return undefined
  try {
    return JSON.parse(answer.slice(start, end + 1))
  } catch {
    return undefined
  }
}
