// Pictures of records: what of a record is drawn, over which image. It does not know verbs or run folders.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { decodeImage, type DecodedImage } from '../gpu-worker/image/decode.ts'
import type { DrawnPhrase } from '../gpu-worker/image/draw.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { GroundedCaptionOutput, GroundOutput } from '../schemas/task-output.ts'

/** The boxes and the text of one picture. */
export type PictureText = { phrases: DrawnPhrase[]; caption: string }

/** Tasks whose records can be drawn, the fullest first. */
export const drawnTasks = ['grounded-caption', 'ground', 'caption'] as const
export type DrawnTask = (typeof drawnTasks)[number]

export function isDrawnTask(task: string): task is DrawnTask {
  return drawnTasks.some((drawn) => drawn === task)
}

/** What the records of one image and task say together; null when none of them has a label. */
export function describePicture(task: DrawnTask, records: readonly LabelRecord[]): PictureText | null {
  const outputs = records.flatMap(({ output }) => (output === null ? [] : [output]))
  if (outputs.length === 0) return null
  switch (task) {
    case 'grounded-caption':
      return describeCaption(GroundedCaptionOutput.parse(outputs[0]))
    case 'ground': {
      // What was found for a caption says more than single phrases.
      const ofCaption = outputs.find((output) => 'phrases' in output)
      if (ofCaption !== undefined) return describeCaption(ofCaption)
      return describeGround(outputs.map((output) => GroundOutput.parse(output)))
    }
    case 'caption': {
      const [output] = outputs
      return { caption: output !== undefined && 'text' in output ? output.text : '', phrases: [] }
    }
  }
}

function describeCaption({ text, phrases }: GroundedCaptionOutput): PictureText {
  const drawn = phrases.map(({ text: words, boxes, start, end }) => ({
    text: words,
    boxes,
    span: { start, end },
  }))
  return { caption: text, phrases: drawn }
}

/** Several phrases, one after the other: "the dog · the cat (not there)". */
function describeGround(outputs: readonly GroundOutput[]): PictureText {
  const separator = ' · '
  const phrases: DrawnPhrase[] = []
  let caption = ''
  for (const { phrase, boxes } of outputs) {
    if (caption !== '') caption += separator
    const start = caption.length
    caption += phrase
    if (boxes.length > 0) phrases.push({ text: phrase, boxes, span: { start, end: caption.length } })
    else caption += ' (not there)'
  }
  return { caption, phrases }
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
