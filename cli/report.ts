// `coglabel report`: a run as one HTML file, for people who would rather look. It does not know how the page is made.
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { countImage, countSeen, countVerdict, emptyStatistics } from '../dataset/exports/core/statistics.ts'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { checkSummaries } from '../dataset/checks/registry.ts'
import { readVerdicts } from '../dataset/verdicts.ts'
import { type AnsweredQuestion, measureGivenAway } from '../dataset/metrics/given-away.ts'
import { renderReport, type ReportFailure, type ReportPicture } from '../review/report.ts'
import { openRunIndex, type RunIndex } from '../review/run-index.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { readRunReport } from './run-report.ts'
import { openPictures } from './review-pictures.ts'
import { openReviewCache } from './review-cache.ts'
import { needOne, type VerbRoot } from './verb-root.ts'
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
/** Of which it is worked out what they give away: more say the same. */
const maxQuestions = 200_000
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
  const run = needOne(positionals, { verb: 'report', name: 'run folder' })
  const wanted = readNumber('--pictures', values.pictures, z.int().min(0).max(maxPictures)) ?? defaultPictures
  const seed = readNumber('--seed', values.seed, z.int().min(0)) ?? 0
  const out = resolve(values.out ?? join(run, 'report.html'))
  const { store, config } = await openRunFolder(run)
  const cache = await openReviewCache(run)
  const index = await openRunIndex(store, cache.folder)
  try {
    const { statistics, failures, questions } = await countRun(index)
    for (const verdict of (await readVerdicts(store)).values()) countVerdict(statistics, verdict)
    const html = renderReport({
      config,
      statistics,
      sessions: await readRunReport(run),
      guesses: measureGivenAway(questions),
      failures,
      checkSummaries,
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
    await cache.close()
  }
}

async function countRun(index: RunIndex) {
  const statistics = emptyStatistics()
  const failures = new Map<string, ReportFailure>()
  const questions: AnsweredQuestion[] = []
  for await (const { records } of index.readAll()) {
    for (const record of records) {
      countSeen(statistics, record)
      const { source, task, error } = record
      if (questions.length < maxQuestions) questions.push(...questionsOf(record))
      if (error !== null) noteFailure(failures, { key: source.key, task, ...error })
    }
    countImage(statistics, { records: records.filter(({ output }) => output !== null), split: null })
  }
  return { statistics, failures: [...failures.values()], questions }
}

/** What fails in one task mostly fails in all: once for each image and reason. */
function noteFailure(
  failures: Map<string, ReportFailure>,
  { key, task, code, message }: { key: string; task: string; code: string; message: string },
): void {
  const name = JSON.stringify([key, code, message])
  const known = failures.get(name)
  if (known === undefined && failures.size < maxFailuresShown)
    failures.set(name, { key, tasks: [task], code, message })
  else if (known?.tasks.includes(task) === false) known.tasks.push(task)
}

/** What was asked and answered, where the label stands. */
function questionsOf({ output, status }: LabelRecord): AnsweredQuestion[] {
  if (status !== 'ok' || output === null || !('turns' in output)) return []
  return output.turns.map(({ kind, question, answer }) => ({ kind, question, answer }))
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
