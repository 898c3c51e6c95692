// `coglabel draw`: the labels of a run as pictures with boxes. It does not know how labels or pictures are made.
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { readByKey } from '../dataset/current-content.ts'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { compareKeys } from '../dataset/stores/object-store.ts'
import { contactSheet, drawLabels } from '../gpu-worker/image/draw.ts'
import { UserError } from '../schemas/errors.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { needText, readNumber } from './flag-values.ts'
import { contentOfRecord } from '../dataset/exports/core/content.ts'
import { describePicture, hasPlaces, openRecordImage } from './pictures.ts'
import { openRunFolder } from './open-run-folder.ts'
import { needOne } from './verb-root.ts'
import { counted, printable } from './words.ts'
import { writeWhole } from './write-whole.ts'

export const drawUsage = `coglabel draw DIR --out DIR2 [options]

Draws what the run in DIR says over its images: boxes with their names, and the words under each. Every image gets
DIR2/KEY.TASK.png for each task that has boxes (for its first text where none has); DIR2/contact-sheet.png shows
them together.

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
  const told = new Set<string>()
  let drawn = 0
  for (const picture of pictures) {
    const png = await drawPicture(picture)
    if (typeof png === 'string') {
      // An image that could not be read has failed in every task: said once.
      const line = `${printable(picture.key)}: ${printable(png)}`
      if (!told.has(line)) console.error(line)
      told.add(line)
      continue
    }
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
  const run = needOne(positionals, { verb: 'draw', name: 'run folder' })
  const out = needText(values.out, `draw needs a place for the pictures: coglabel draw ${run} --out DIR2`)
  if (resolve(out) === resolve(run))
    throw new UserError(`--out ${out} is the run folder itself; give another folder for the pictures`)
  const limit = readNumber('--limit', values.limit, z.int().min(1)) ?? Number.POSITIVE_INFINITY
  const columns = readNumber('--columns', values.columns, z.int().min(1)) ?? 4
  return { run, out, limit, columns }
}

type Picture = { key: string; task: string; records: LabelRecord[] }

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

/** One picture for each image and task, in order of key; of an image that was replaced, only the content that counts. */
async function planPictures({ run, limit }: Flags): Promise<Picture[]> {
  const { store } = await openRunFolder(run)
  const byKey = await readByKey(store)
  const [withPlaces, withText] = [new Set<string>(), new Set<string>()]
  let failed = 0
  for (const record of [...byKey.values()].flat()) {
    if (record.status === 'failed') failed += 1
    if (hasPlaces(record)) withPlaces.add(record.task)
    else if (contentOfRecord(record).text !== null) withText.add(record.task)
  }
  if (withPlaces.size + withText.size === 0) {
    const why =
      failed === 0 ? 'label with --tasks grounded-caption first' : `${counted(failed, 'record')} failed`
    throw new UserError(`${run} has no labels that can be drawn; ${why}`)
  }
  const keys = [...byKey.keys()].toSorted(compareKeys).slice(0, limit)
  return keys.flatMap((key) => picturesOf(key, { records: byKey.get(key) ?? [], withPlaces, withText }))
}

type Drawable = {
  records: readonly LabelRecord[]
  withPlaces: ReadonlySet<string>
  withText: ReadonlySet<string>
}

function picturesOf(key: string, { records, withPlaces, withText }: Drawable): Picture[] {
  const tasks = [...new Set(records.map(({ task }) => task))].toSorted()
  const placed = tasks.filter((task) => withPlaces.has(task))
  const drawn = placed.length > 0 ? placed : tasks.filter((task) => withText.has(task)).slice(0, 1)
  return drawn.map((task) => ({
    key,
    task,
    records: records.filter((record) => record.task === task).toSorted((a, b) => a.ordinal - b.ordinal),
  }))
}

/** The picture as a PNG, or why there is none. */
async function drawPicture({ key, task, records }: Picture): Promise<Buffer | string> {
  const text = describePicture(records)
  const [record] = records
  if (text === null || record === undefined)
    return `nothing to draw: ${record?.error?.message ?? `${task} says nothing of it`}`
  const opened = await openRecordImage(record)
  if (!opened.ok) return opened.reason
  return await drawLabels({ image: opened.image, ...text, title: printable(`${key} · ${task}`) })
}
