// `coglabel report`: a run as one HTML file, for people who would rather look. It does not know how the page is made.
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { countImage, countSeen, countVerdict, emptyStatistics } from '../dataset/exports/core/statistics.ts'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { readVerdicts } from '../dataset/verdicts.ts'
import { renderReport, type ReportFailure, type ReportPicture } from '../review/report.ts'
import { openRunIndex, type RunIndex } from '../review/run-index.ts'
import { UserError } from '../schemas/errors.ts'
import { RunReport, runReportName } from '../schemas/run-report.ts'
import { openPictures } from './review-pictures.ts'
import { reviewCache } from './review.ts'
import type { VerbRoot } from './verb-root.ts'
import { readNumber } from './flag-values.ts'
import { counted } from './words.ts'
import { writeWhole } from './write-whole.ts'
import { openRunFolder } from './open-run-folder.ts'

export const reportUsage = `coglabel report DIR [options]

Writes what a run did as one HTML file: counts, lengths, boxes, checks, failures, verdicts, and pictures with their
labels drawn over them. It needs no other file, loads nothing, and may be mailed.

  --out FILE      where (DIR/report.html)
  --pictures N    how many, drawn at random (48; 0 for none)
  --seed N        of the draw (0)

Exit code: 0 written, 1 fatal, 2 wrong usage.`

const maxFailuresShown = 20
const defaultPictures = 48
/** Each takes about 15 kB. */
const maxPictures = 2000

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runReport(args: readonly string[], root: VerbRoot): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { out: { type: 'string' }, pictures: { type: 'string' }, seed: { type: 'string' } },
  })
  const [run, ...rest] = positionals
  if (run === undefined || rest.length > 0)
    throw new UserError(`report takes one run folder, got ${positionals.length}: coglabel report DIR`)
  const wanted = readNumber('--pictures', values.pictures, z.int().min(0).max(maxPictures)) ?? defaultPictures
  const seed = readNumber('--seed', values.seed, z.int().min(0)) ?? 0
  const out = resolve(values.out ?? join(run, 'report.html'))
  const { store, config } = await openRunFolder(run)
  const index = await openRunIndex(store, reviewCache(run))
  try {
    const { statistics, failures } = await countRun(index)
    for (const verdict of (await readVerdicts(store)).values()) countVerdict(statistics, verdict)
    const html = renderReport({
      config,
      statistics,
      sessions: await readSessions(run),
      failures,
      pictures: await drawPictures(index, { count: wanted, seed, ...openPictures({ store, place: null }) }),
      chosen:
        index.images.length <= wanted
          ? 'All of them.'
          : `${wanted} of ${index.images.length}, drawn at random with seed ${seed}.`,
      createdAt: root.clock().toISOString(),
    })
    await writeWhole(out, html)
    root.print(`${counted(index.recordCount, 'record')} of ${counted(index.images.length, 'image')}: ${out}`)
    return 0
  } finally {
    await index.close()
  }
}

async function countRun(index: RunIndex) {
  const statistics = emptyStatistics()
  const failures: ReportFailure[] = []
  for await (const { records } of index.readAll()) {
    for (const record of records) {
      countSeen(statistics, record)
      const { source, task, error } = record
      if (error !== null && failures.length < maxFailuresShown)
        failures.push({ key: source.key, task, ...error })
    }
    countImage(statistics, { records: records.filter(({ output }) => output !== null), split: null })
  }
  return { statistics, failures }
}

/** What run.json tells, where it can be read: it is a view, and may be of another version. */
async function readSessions(run: string): Promise<RunReport | null> {
  const text = await readFile(join(run, runReportName), 'utf8').catch(() => null)
  if (text === null) return null
  try {
    return RunReport.parse(JSON.parse(text))
  } catch {
    return null
  }
}

type Draw = { count: number; seed: number } & Pick<ReturnType<typeof openPictures>, 'readThumbnail'>

/** Images whose seeded hash is smallest, in order of key. */
async function drawPictures(index: RunIndex, { count, seed, readThumbnail }: Draw): Promise<ReportPicture[]> {
  const ranked = index.images.map((image) => ({
    image,
    rank: sha256Hex(`${seed} ${image.sha256} ${image.key}`),
  }))
  const drawn = new Set(
    ranked
      .toSorted((left, right) => (left.rank < right.rank ? -1 : 1))
      .slice(0, count)
      .map(({ image }) => image),
  )
  const pictures: ReportPicture[] = []
  for (const image of index.images.filter((one) => drawn.has(one)))
    pictures.push({
      key: image.key,
      picture: await readThumbnail(image),
      records: await index.readRecords(image),
    })
  return pictures
}
