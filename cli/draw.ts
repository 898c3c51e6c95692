// `coglabel draw`: the labels of a run as pictures with boxes. It does not know how labels or pictures are made.
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { readRecords } from '../dataset/read.ts'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { compareKeys } from '../dataset/stores/object-store.ts'
import { contactSheet, drawLabels } from '../gpu-worker/image/draw.ts'
import { UserError } from '../schemas/errors.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { readNumber } from './flag-values.ts'
import { describePicture, drawnTasks, type DrawnTask, isDrawnTask, openRecordImage } from './pictures.ts'
import { openRunFolder } from './open-run-folder.ts'
import { counted, printable } from './words.ts'
import { writeWhole } from './write-whole.ts'

export const drawUsage = `coglabel draw DIR --out DIR2 [options]

Draws what the run in DIR says over its images: boxes with their names, and the caption under each. Every image
gets DIR2/KEY.TASK.png for grounded-caption and ground (for caption where there is neither); DIR2/contact-sheet.png
shows them together.

  --out DIR2      where the pictures go (needed)
  --limit N       only the first N images
  --columns N     of the contact sheet (4)

Exit code: 0 all drawn, 1 fatal, 2 wrong usage, 3 some images could not be drawn.`

/** Pictures on one contact sheet; more would make a file nobody can open. */
const maxOnSheet = 64
const tileWidth = 420

type Flags = { run: string; out: string; limit: number; columns: number }

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runDraw(args: readonly string[]): Promise<number> {
  const flags = parseFlags(args)
  const pictures = await planPictures(flags)
  const sheet: Buffer[] = []
  let drawn = 0
  for (const picture of pictures) {
    const png = await drawPicture(picture)
    if (png === null) continue
    await writeWhole(join(flags.out, pictureName(picture)), png)
    drawn += 1
    if (sheet.length < maxOnSheet) sheet.push(png)
  }
  if (drawn === 0)
    throw new UserError(`none of the ${pictures.length} pictures of ${flags.run} could be drawn; see above`)
  const sheetPath = join(flags.out, 'contact-sheet.png')
  await writeWhole(sheetPath, await contactSheet(sheet, { columns: flags.columns, tileWidth }))
  const shown = sheet.length < drawn ? ` (the first ${sheet.length})` : ''
  console.log(`drew ${counted(drawn, 'picture')} into ${flags.out}; all together${shown}: ${sheetPath}`)
  return drawn === pictures.length ? 0 : 3
}

function parseFlags(args: readonly string[]): Flags {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { out: { type: 'string' }, limit: { type: 'string' }, columns: { type: 'string' } },
  })
  const [run, ...rest] = positionals
  if (run === undefined || rest.length > 0)
    throw new UserError(`draw takes one run folder, got ${positionals.length}: coglabel draw DIR --out DIR2`)
  if (values.out === undefined || values.out === '')
    throw new UserError(`draw needs a place for the pictures: coglabel draw ${run} --out DIR2`)
  if (resolve(values.out) === resolve(run))
    throw new UserError(`--out ${values.out} is the run folder itself; give another folder for the pictures`)
  const limit = readNumber('--limit', values.limit, z.int().min(1)) ?? Number.POSITIVE_INFINITY
  const columns = readNumber('--columns', values.columns, z.int().min(1)) ?? 4
  return { run, out: values.out, limit, columns }
}

type Picture = { key: string; task: DrawnTask; records: LabelRecord[] }

/** File systems take names of up to 255 bytes; of what is written aside first, a few less are left. */
const maxNameBytes = 230

/** KEY.TASK.png; a last segment that would be too long is cut and told apart by a hash. */
function pictureName({ key, task }: Picture): string {
  const [folders, name] = [key.slice(0, key.lastIndexOf('/') + 1), key.slice(key.lastIndexOf('/') + 1)]
  const ending = `.${task}.png`
  if (Buffer.byteLength(name + ending) <= maxNameBytes) return folders + name + ending
  const hash = `-${sha256Hex(name).slice(0, 8)}`
  const room = maxNameBytes - hash.length - ending.length
  // A character that is cut in the middle would come back as U+FFFD.
  const cut = Buffer.from(name)
    .subarray(0, room)
    .toString()
    .replace(/\u{fffd}+$/u, '')
  return folders + cut + hash + ending
}

/** One picture for each image and task, in order of key; of an image that was replaced, only the newest content. */
async function planPictures({ run, limit }: Flags): Promise<Picture[]> {
  const { store } = await openRunFolder(run)
  const byKey = new Map<string, LabelRecord[]>()
  for await (const record of readRecords(store)) {
    if (!isDrawnTask(record.task)) continue
    const records = byKey.get(record.source.key)
    if (records === undefined) byKey.set(record.source.key, [record])
    else records.push(record)
  }
  if (byKey.size === 0)
    throw new UserError(`${run} has no labels that can be drawn; label with --tasks ${drawnTasks[0]} first`)
  const keys = [...byKey.keys()].toSorted(compareKeys).slice(0, limit)
  return keys.flatMap((key) => picturesOf(key, byKey.get(key) ?? []))
}

function picturesOf(key: string, records: readonly LabelRecord[]): Picture[] {
  const newest = records.reduce((latest, record) => (record.createdAt > latest.createdAt ? record : latest))
  const current = records.filter(({ source }) => source.sha256 === newest.source.sha256)
  const pictures = drawnTasks.map((task) => ({
    key,
    task,
    records: current.filter((record) => record.task === task).toSorted((a, b) => a.ordinal - b.ordinal),
  }))
  const present = pictures.filter((picture) => picture.records.length > 0)
  return present.length > 1 ? present.filter(({ task }) => task !== 'caption') : present
}

/** The picture as a PNG, or null after saying why there is none. */
async function drawPicture({ key, task, records }: Picture): Promise<Buffer | null> {
  const text = describePicture(task, records)
  const [record] = records
  if (text === null || record === undefined) {
    const why = record?.error?.message ?? 'no label'
    console.error(`${printable(key)} (${task}): nothing to draw: ${printable(why)}`)
    return null
  }
  const opened = await openRecordImage(record)
  if (opened.ok) return await drawLabels({ image: opened.image, ...text })
  console.error(`${printable(key)}: ${printable(opened.reason)}`)
  return null
}
