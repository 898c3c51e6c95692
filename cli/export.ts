// `coglabel export`: the labels of a run as files that a trainer, a tool or a person reads. It does not know any format.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import type { ExportFormat, ImageMode } from '../dataset/exports/core/format.ts'
import {
  type ExportProgress,
  type ExportReport,
  exportRun,
  type ExportSplit,
} from '../dataset/exports/core/run-export.ts'
import { parseShares } from '../dataset/exports/core/split.ts'
import { UnfitImage } from '../dataset/exports/core/unfit-image.ts'
import { parseWhere, type Predicate } from '../dataset/exports/core/where.ts'
import { checkSummaries } from '../dataset/checks/registry.ts'
import { parseJson } from '../dataset/parse-json.ts'
import { exportFormats, findFormat } from '../dataset/exports/registry.ts'
import { encodeJpeg } from '../gpu-worker/image/encode.ts'
import { UserError } from '../schemas/errors.ts'
import { systemCode } from '../schemas/system-error.ts'
import { commandsOf, readRunReport } from './run-report.ts'
import { readVersion } from './version.ts'
import { reasonOf } from './explain-error.ts'
import { needText, readNumber } from './flag-values.ts'
import { openRunFolder } from './open-run-folder.ts'
import { writeFolderWhole } from './staging.ts'
import { needOne } from './verb-root.ts'
import { counted, shellWord } from './words.ts'

export const exportUsage = `coglabel export DIR --format X --out OUT [options]

Writes the labels of the run in DIR as a dataset, with a card (OUT/README.md) that says what it is. Only labels that
stand are exported: failed ones, those a check turned down and those a person rejected are left out, edits are applied.
The files are read back and checked against what their loaders demand.

  --format X      one of:
${exportFormats.map(({ name, summary }) => `                    ${name.padEnd(15)} ${summary}`).join('\n')}
  --out OUT       a folder that is not there yet, or is empty (needed)
  --images HOW    copy, link, reference (their URIs) or embed; not every format can do each
  --strip-metadata  takes places, times, cameras and comments out of copied images
  --where COND    only such records: 'task=qa and checks.region-cycle>=0.5'; and, or, not, ( ), = != > < >= <= ~
  --split SHARES  for example train=0.9,val=0.05,test=0.05; what looks alike or lies in one folder stays together
  --seed N        of the split (0)
  --group-depth N   how many leading folders of a name keep images together (all; 0 for none)
  --previous OUT0   an earlier export; images that changed their part since are listed in OUT/moved.jsonl
  --no-check      does not read the files back

Exit code: 0 exported, 1 fatal, 2 wrong usage, 3 some images were missing or changed, or a loader's rule is broken.`

const imageModes = ['copy', 'link', 'reference', 'embed'] as const

type Flags = {
  run: string
  out: string
  format: ExportFormat
  imageMode: ImageMode
  stripsMetadata: boolean
  where: Predicate | null
  split: Omit<ExportSplit, 'previous'> | null
  previous: string | null
  checks: boolean
}

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runExport(args: readonly string[]): Promise<number> {
  const flags = parseFlags(args)
  const { store, config } = await openRunFolder(flags.run)
  await refuseFull(flags.out)
  const progress = showProgress()
  const made = await readRunReport(flags.run)
  const report = await writeFolderWhole(flags.out, async (staging) => {
    const report = await exportRun({
      ...flags,
      store,
      config,
      folder: staging,
      ports: { readImage: readLocalImage, toJpeg: encodeJpeg },
      split: flags.split === null ? null : { ...flags.split, previous: await readPrevious(flags.previous) },
      command: ['export', ...args].map(shellWord).join(' '),
      checkSummaries,
      labelCommands: made === null ? [] : commandsOf(made),
      version: await readVersion(),
      clock: () => new Date(),
      onProgress: progress.show,
    })
    progress.end()
    if (report.statistics.entries === 0)
      throw new UserError(`nothing of ${flags.run} can be exported: ${reasons(report) || 'it has no labels'}`)
    return report
  })
  return tell(report, flags)
}

function parseFlags(args: readonly string[]): Flags {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    allowNegative: true,
    options: {
      'format': { type: 'string' },
      'out': { type: 'string' },
      'images': { type: 'string' },
      'strip-metadata': { type: 'boolean', default: false },
      'where': { type: 'string' },
      'split': { type: 'string' },
      'seed': { type: 'string' },
      'group-depth': { type: 'string' },
      'previous': { type: 'string' },
      'check': { type: 'boolean', default: true },
    },
  })
  const run = needOne(positionals, { verb: 'export', name: 'run folder' })
  if (values.format === undefined)
    throw new UserError(`export needs a format: --format ${exportFormats.map(({ name }) => name).join('|')}`)
  const out = needText(
    values.out,
    `export needs a place: coglabel export ${run} --format ${values.format} --out OUT`,
  )
  const format = findFormat(values.format)
  const split =
    values.split === undefined
      ? null
      : {
          shares: parseShares(values.split),
          seed: readNumber('--seed', values.seed, z.int().min(0)) ?? 0,
          groupDepth: readNumber('--group-depth', values['group-depth'], z.int().min(0)) ?? Infinity,
        }
  if (split === null && values.previous !== undefined)
    throw new UserError('--previous is for a split; give --split as well')
  return {
    run,
    out,
    format,
    imageMode: readImageMode(values.images, format),
    stripsMetadata: values['strip-metadata'],
    where: values.where === undefined ? null : parseWhere(values.where),
    split,
    previous: values.previous ?? null,
    checks: values.check,
  }
}

function readImageMode(text: string | undefined, { name, imageModes: allowed }: ExportFormat): ImageMode {
  if (text === undefined) return allowed[0] ?? 'copy'
  const mode = imageModes.find((one) => one === text)
  if (mode !== undefined && allowed.includes(mode)) return mode
  throw new UserError(`--images is "${text}"; ${name} takes ${allowed.join(', ')}`)
}

async function refuseFull(out: string): Promise<void> {
  const names = await readdir(out).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return []
    if (systemCode(error) === 'ENOTDIR')
      throw new UserError(`--out ${out} is a file, or lies in one; expected a folder that is not there yet`)
    throw new UserError(`--out ${out} cannot be a folder: ${reasonOf(error)}`)
  })
  if (names.length > 0)
    throw new UserError(
      `--out ${out} is not empty; exports never overwrite, so give a new folder or remove that one`,
    )
}

const SplitLine = z.object({ key: z.string(), split: z.string() })

/** The parts of an earlier export by key. */
async function readPrevious(folder: string | null): Promise<ReadonlyMap<string, string> | null> {
  if (folder === null) return null
  const path = join(folder, 'splits.jsonl')
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new UserError(`${path} cannot be read; --previous is the folder of an export that was split`, {
      cause: error,
    })
  })
  const lines = text.split('\n').filter((line) => line !== '')
  return new Map(
    lines.map((line, index) => {
      const parsed = SplitLine.safeParse(parseJson(line))
      if (parsed.success) return [parsed.data.key, parsed.data.split]
      throw new UserError(
        `line ${index + 1} of ${path} names no image and its part: ${line.slice(0, 80)}; --previous is the folder of an export that was split`,
      )
    }),
  )
}

async function readLocalImage(uri: string): Promise<Uint8Array | null> {
  if (!uri.startsWith('file:'))
    throw new UserError(
      `${uri} is not on this machine; export with --images reference, or download the images first`,
    )
  return await readFile(fileURLToPath(uri)).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error))) return null
    throw systemCode(error) === '' ? error : new UnfitImage('that cannot be read', { cause: error })
  })
}

function showProgress(): { show: (progress: ExportProgress) => void; end: () => void } {
  const { stderr } = process
  const everyMs = stderr.isTTY ? 100 : 5000
  const startMs = performance.now()
  let lastMs = startMs
  let drawn = false
  return {
    show({ phase, images, records }) {
      const nowMs = performance.now()
      if (nowMs - lastMs < everyMs) return
      lastMs = nowMs
      drawn = true
      const rate = Math.round(records / ((nowMs - startMs) / 1000))
      const line = `${phase}: ${records} records of ${images} images, ${rate} a second`
      stderr.write(stderr.isTTY ? `\r\u001B[2K${line}` : `${line}\n`)
    },
    end: () => {
      if (drawn && stderr.isTTY) stderr.write('\r\u001B[2K')
    },
  }
}

/** Prints what was done and what was not; returns the exit code. */
function tell(report: ExportReport, { out, format, split }: Flags): number {
  const { images, records, statistics, moved, warnings, broken } = report
  console.log(
    `exported ${counted(records, 'record')} of ${counted(images, 'image')} as ${statistics.entries} ${statistics.entries === 1 ? 'entry' : 'entries'} of ${format.name} into ${out}; what they are: ${join(out, 'README.md')}`,
  )
  const left = reasons(report)
  const isListed = Object.keys(statistics.leftOut).some(isOfImage)
  if (left !== '')
    console.log(`left out: ${left}${isListed ? `; which images: ${join(out, 'left-out.jsonl')}` : ''}`)
  // Those without an image too, for their files are not there.
  const parts = split?.shares.map(({ name }) => `${name} ${statistics.splits[name] ?? 0}`)
  if (parts !== undefined) console.log(`images of the split: ${parts.join(', ')}`)
  if (moved.length > 0) console.log(`${moved.length} images changed their part: ${join(out, 'moved.jsonl')}`)
  for (const warning of warnings) console.error(`coglabel: ${warning}`)
  if (statistics.rotated > 0)
    console.error(
      `coglabel: ${statistics.rotated === 1 ? '1 image lies' : `${statistics.rotated} images lie`} on the side in the file; boxes are of the upright image, so use --images copy unless your loader applies EXIF`,
    )
  for (const { rule, says, source, problem, count } of broken ?? [])
    console.error(
      `coglabel: ${format.name} breaks "${rule}" ${count} times: ${problem}\n  ${says} (${source})`,
    )
  return isListed || (broken ?? []).length > 0 ? 3 : 0
}

/** Of an image that labels are there for; other reasons are of records. */
function isOfImage(reason: string): boolean {
  return reason.startsWith('image ')
}

function reasons({ statistics }: ExportReport): string {
  return Object.entries(statistics.leftOut)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(', ')
}
