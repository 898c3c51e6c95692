// Pictures of records: what of a record is drawn, over which image. It does not know verbs or run folders.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { contentOfRecord } from '../dataset/exports/core/content.ts'
import { decodeImage, type DecodedImage } from '../gpu-worker/image/decode.ts'
import type { DrawnPhrase } from '../gpu-worker/image/draw.ts'
import type { LabelRecord } from '../schemas/label-record.ts'

/** The boxes and the text of one picture. */
export type PictureText = { phrases: DrawnPhrase[]; caption: string }

/** Whether a label has places: by its shape, so that tasks of the user are drawn too. */
export function hasPlaces({ output }: LabelRecord): boolean {
  if (output === null) return false
  if ('phrases' in output || 'phrase' in output || 'regions' in output) return true
  return 'boxes' in output && output.boxes !== undefined && output.boxes.length > 0
}

const separator = ' · '

/**
 * What the records of one image and task say together: texts first, then what was asked for by itself, as in "the dog ·
 * the cat (not there)". Null when none of them has a label that can be drawn.
 */
export function describePicture(records: readonly LabelRecord[]): PictureText | null {
  const contents = records.map(contentOfRecord)
  const said: PictureText = { phrases: [], caption: '' }
  for (const { text, regions } of contents.filter((content) => content.text !== null)) {
    const start = addWords(said, text ?? '')
    for (const { text: words, boxes, span } of regions)
      said.phrases.push({
        text: words,
        boxes,
        ...(span === null ? {} : { span: { start: start + span.start, end: start + span.end } }),
      })
  }
  for (const { regions } of contents.filter((content) => content.text === null))
    for (const { text: words, boxes } of regions) {
      const start = addWords(said, words)
      if (boxes.length === 0) said.caption += ' (not there)'
      else said.phrases.push({ text: words, boxes, span: { start, end: start + words.length } })
    }
  return said.caption === '' ? null : said
}

/** Returns where the words begin. */
function addWords(said: PictureText, words: string): number {
  if (said.caption !== '') said.caption += separator
  const start = said.caption.length
  said.caption += words
  return start
}

export type OpenedImage = { ok: true; image: DecodedImage } | { ok: false; reason: string }

/** Reads the image of a record, upright. What is wrong is told as a sentence. */
export async function openRecordImage({ source }: Pick<LabelRecord, 'source'>): Promise<OpenedImage> {
  if (!source.uri.startsWith('file:'))
    return { ok: false, reason: `${source.uri} is not on this machine; only local images are drawn` }
  const bytes = await readFile(fileURLToPath(source.uri)).catch(() => null)
  if (bytes === null) return { ok: false, reason: `${source.uri} cannot be read; was it moved or deleted?` }
  const decoded = await decodeImage(bytes)
  return decoded.ok ? decoded : { ok: false, reason: decoded.failure.message }
}
