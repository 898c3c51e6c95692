// `coglabel evaluate`: the labels of a run against gold answers. It does not know how a metric is counted.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { compareRuns } from '../dataset/metrics/compare.ts'
import { gradeImage } from '../dataset/metrics/grade-image.ts'
import { type GradedImage, tally } from '../dataset/metrics/tally.ts'
import { openVocabulary, type Vocabulary } from '../dataset/metrics/vocabulary.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { benchmarkLayouts } from '../dataset/metrics/benchmarks/registry.ts'
import { contactSheet, drawLabels } from '../gpu-worker/image/draw.ts'
import { encodeJpeg } from '../gpu-worker/image/encode.ts'
import { UserError } from '../schemas/errors.ts'
import { GoldLine } from '../schemas/gold.ts'
import { runConfigKey, type RunModel } from '../schemas/run-config.ts'
import { World } from '../schemas/world.ts'
import { reasonOf } from './explain-error.ts'
import { readNumber } from './flag-values.ts'
import { openBenchmarkFiles } from './benchmark-files.ts'
import { evaluateBenchmark, labelItems } from './evaluate-benchmark.ts'
import { renderReport, type ReportCase } from './evaluation-html.ts'
import { evaluationTable, renderEvaluation, type Evaluation } from './evaluation-table.ts'
import type { LabelRoot } from './label.ts'
import { describePicture, openRecordImage } from './pictures.ts'
import { type JoinedImage, joinGold } from './join-gold.ts'
import { writeWhole } from './write-whole.ts'
import { openRunFolder } from './open-run-folder.ts'

export const evaluateUsage = `coglabel evaluate DIR --gold GOLD.jsonl [options]
coglabel evaluate BENCHMARK --out DIR [options]

Compares the labels of the run in DIR with answers known to be right. GOLD has a line for each image: {"key", "width",
"height", "objects": [{"name", "box": [x0, y0, x1, y1] from 0 to 1}], "questions": [{"question", "answer", "kind"}]}.
Answers are found by the exact question, asked with --ask or --ground or by a manifest; an answer that is missing or
cannot be graded is wrong. Prints a table by number of objects, and writes DIR/evaluation.json,
DIR/evaluation-worst.png, the images with the most wrong, and DIR/evaluation.html, a report that needs no other file.

BENCHMARK is the folder of a public benchmark, as it comes, with its images somewhere inside; it is labelled into DIR
and scored:
${benchmarkLayouts.map(({ kind, files }) => `  ${kind.padEnd(10)} ${files}`).join('\n')}
  gold       gold.jsonl, as above, with what it asks

  --gold FILE     the gold lines (needed)
  --world FILE    names and synonyms of things (world.json of the model that comes with coglabel)
  --against DIR2  another run over the same images, for example by the model with other weights: the difference of
                  each figure, with the interval that chance leaves it (paired bootstrap, 95 %)
  --worst N       images on the sheet of the worst (12; 0 for none)

  --out DIR       of a benchmark: the run folder
  --kind NAME     of a benchmark whose files could be several
  --model DIR     that labels the benchmark (the model that comes with coglabel)
  --images DIR    where the benchmark's images are, if not in its own folder
  --split NAME    val, testA …, of a benchmark that comes with several (the one for validation; of RefCOCO all but train)
  --limit N       only the first N images of the benchmark

Exit code: 0 evaluated, 1 fatal, 2 wrong usage or unusable files.`

const evaluationName = 'evaluation.json'
const worstName = 'evaluation-worst.png'
const reportName = 'evaluation.html'
const defaultWorld = fileURLToPath(new URL('../models/scenes-v2/world.json', import.meta.url))
const tileWidth = 380
const defaultWorst = 12
const maxWorst = 64

type Flags = {
  /** A run folder, or a benchmark's. */
  folder: string
  goldPath: string | undefined
  out: string | undefined
  kind: string | undefined
  maxImages: number | undefined
  images: string | undefined
  split: string | undefined
  model: string | undefined
  worldPath: string
  againstRun: string | undefined
  worstCount: number
}

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runEvaluate(args: readonly string[], root: LabelRoot): Promise<number> {
  const flags = parseFlags(args)
  const { folder, goldPath, out } = flags
  if (goldPath !== undefined && out === undefined)
    return await evaluateGold({ ...flags, run: folder, goldPath }, root)
  if (out === undefined) throw new UserError(await whatIsMissing(folder))
  if ((await openFsStore(folder).head(runConfigKey)) !== null)
    throw new UserError(`${folder} is a run folder, and its scores go into it; leave out --out ${out}`)
  const files = await openBenchmarkFiles(folder, flags)
  const labelArgs = flags.model === undefined ? [] : ['--model', flags.model]
  const ownGold = goldPath ?? (files.names.includes(goldName) ? join(folder, goldName) : undefined)
  if (ownGold === undefined) {
    const { kind, worstCount } = flags
    return await evaluateBenchmark(files, { out, kind, worstCount, labelArgs }, root)
  }
  const gold = (await readGold(ownGold)).slice(0, flags.maxImages)
  const items = gold.map(({ key, questions }) => ({
    key,
    questions: questions.map(({ question }) => question),
  }))
  const code = await labelItems({ files, items, out, tasks: goldTasks, labelArgs }, root)
  if (code !== 0 && code !== 3) return code
  return await evaluateGold({ ...flags, run: out, goldPath: ownGold }, root)
}

/** What our own gold asks: captions, boxes in captions, and its questions as they stand. */
const goldTasks = ['caption', 'grounded-caption', 'qa']
const goldName = 'gold.jsonl'

async function whatIsMissing(folder: string): Promise<string> {
  const isRun = await readRunOf(folder).then(
    () => true,
    () => false,
  )
  return isRun
    ? `evaluate needs the right answers: coglabel evaluate ${folder} --gold GOLD.jsonl`
    : `"${folder}" is no run folder; a benchmark is labelled first, into a folder given with --out`
}

type GoldFlags = Flags & { run: string; goldPath: string }

async function evaluateGold(flags: GoldFlags, root: LabelRoot): Promise<number> {
  await readRunOf(flags.run)
  const gold = (await readGold(flags.goldPath)).slice(0, flags.maxImages)
  const world = await readWorld(flags.worldPath)
  const vocabulary = openVocabulary(
    world,
    gold.flatMap(({ objects }) => objects.map(({ name }) => name)),
  )
  const graded = await gradeRun(flags.run, { gold, goldPath: flags.goldPath, vocabulary })
  const other =
    flags.againstRun === undefined
      ? null
      : await gradeRun(flags.againstRun, { gold, goldPath: flags.goldPath, vocabulary })
  const evaluation = summarise(graded, { other, goldPath: flags.goldPath })
  await writeWhole(join(flags.run, evaluationName), `${JSON.stringify(evaluation, null, 1)}\n`)
  const places = [`figures of each image: ${join(flags.run, evaluationName)}`]
  const worst = await drawWorst(graded, flags.worstCount)
  if (worst !== null) {
    await writeWhole(join(flags.run, worstName), worst)
    places.push(`the worst images, true boxes dashed: ${join(flags.run, worstName)}`)
  }
  const report = await reportOf(graded, { evaluation, worstCount: flags.worstCount })
  await writeWhole(join(flags.run, reportName), report)
  places.push(`report, the worst pictured: ${join(flags.run, reportName)}`)
  root.print(`${renderEvaluation(evaluation)}\n\n${places.join('\n')}`)
  return 0
}

async function reportOf(
  run: GradedRun,
  { evaluation, worstCount }: { evaluation: Evaluation; worstCount: number },
): Promise<string> {
  const [head = [], ...rows] = evaluationTable(evaluation)
  const cases = await Promise.all(
    rankWorst(run)
      .slice(0, worstCount)
      .map(async ({ joined, image }): Promise<ReportCase> => {
        const picture = await drawOne(joined, image)
        const wrong = image.grades.filter(({ missing, right, total }) => missing === 0 && right < total)
        const facts = wrong
          .slice(0, 8)
          .map(({ metric, right, total, question }): [string, string] => [
            metric,
            `${right} of ${total}${question === undefined ? '' : `: ${question}`}`,
          ])
        return {
          title: image.key,
          facts,
          picture: picture === null ? null : await encodeJpeg(picture, image.key),
        }
      }),
  )
  const { model, images, gold } = evaluation
  const about = `${model.name} (${model.weights}) on ${images} images of ${gold}; percent right by number of things`
  return renderReport({ title: `Evaluation of ${model.name}`, about, head, rows, cases })
}

type GradedRun = { model: RunModel; graded: GradedImage[]; joined: JoinedImage[] }

async function readRunOf(run: string): Promise<{ store: ObjectStore; model: RunModel }> {
  const { store, config } = await openRunFolder(run)
  return { store, model: config.model }
}

type GoldFile = { gold: readonly GoldLine[]; goldPath: string; vocabulary: Vocabulary }

async function gradeRun(run: string, { gold, goldPath, vocabulary }: GoldFile): Promise<GradedRun> {
  const { store, model } = await readRunOf(run)
  const joined = await joinGold(store, gold)
  if (joined.every(({ records }) => records.length === 0)) {
    throw new UserError(
      `no image of ${goldPath} is in the run ${run}: the gold has "${gold[0]?.key ?? ''}"; keys are paths below the source that was labelled`,
    )
  }
  const graded = joined.map((image) => ({
    key: image.gold.key,
    objects: image.gold.objects.length,
    grades: gradeImage(image.gold, image.said, vocabulary),
  }))
  return { model, graded, joined }
}

function parseFlags(args: readonly string[]): Flags {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      gold: { type: 'string' },
      world: { type: 'string', default: defaultWorld },
      against: { type: 'string' },
      worst: { type: 'string' },
      out: { type: 'string' },
      kind: { type: 'string' },
      model: { type: 'string' },
      limit: { type: 'string' },
      images: { type: 'string' },
      split: { type: 'string' },
    },
  })
  const [folder, ...rest] = positionals
  if (folder === undefined || rest.length > 0)
    throw new UserError(
      `evaluate takes one run folder, got ${positionals.length}: coglabel evaluate DIR --gold GOLD.jsonl`,
    )
  const worstCount = readNumber('--worst', values.worst, z.int().min(0).max(maxWorst)) ?? defaultWorst
  const { out, kind, model, images, split } = values
  const maxImages = readNumber('--limit', values.limit, z.int().min(1))
  const { gold: goldPath, world: worldPath, against: againstRun } = values
  return { folder, goldPath, worldPath, againstRun, worstCount, out, kind, model, maxImages, images, split }
}

async function readGold(path: string): Promise<GoldLine[]> {
  const lines = (await readText(path)).replace(/^\u{feff}/u, '').split('\n')
  const gold = lines.flatMap((line, index) =>
    line.trim() === '' ? [] : [parseLine(line, { schema: GoldLine, where: `line ${index + 1} of ${path}` })],
  )
  if (gold.length === 0) throw new UserError(`${path} is empty; expected a gold line for each image`)
  const keys = new Set<string>()
  for (const { key } of gold) {
    if (keys.has(key)) throw new UserError(`${path} has two lines for "${key}"; expected one for each image`)
    keys.add(key)
  }
  return gold
}

async function readWorld(path: string): Promise<World> {
  return parseLine(await readText(path), { schema: World, where: path })
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}

function parseLine<T>(text: string, { schema, where }: { schema: z.ZodType<T>; where: string }): T {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new UserError(`${where} is not JSON: ${text.slice(0, 80)}`, { cause: error })
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  throw new UserError(`${where} is not as expected: ${z.prettifyError(parsed.error).slice(0, 600)}`)
}

function summarise(
  { model, graded, joined }: GradedRun,
  { other, goldPath }: { other: GradedRun | null; goldPath: string },
): Evaluation {
  const tasks = new Set(joined.flatMap(({ records }) => records.map(({ task }) => task)))
  return {
    v: 1,
    gold: goldPath,
    model,
    images: graded.length,
    imagesMissing: joined.filter(({ records }) => records.length === 0).length,
    tasks: [...tasks].toSorted(),
    metrics: tally(graded),
    against: other === null ? null : { model: other.model, comparisons: compareRuns(graded, other.graded) },
    byImage: graded,
  }
}

/** The images with the most wrong, with their boxes and the true ones; null when none can be drawn. */
async function drawWorst(run: GradedRun, count: number): Promise<Buffer | null> {
  const tiles: Buffer[] = []
  for (const { joined, image } of rankWorst(run)) {
    if (tiles.length >= count) break
    const tile = await drawOne(joined, image)
    if (tile !== null) tiles.push(tile)
  }
  return tiles.length === 0 ? null : await contactSheet(tiles, { columns: 4, tileWidth })
}

function rankWorst({ graded, joined }: GradedRun): { joined: JoinedImage; image: GradedImage }[] {
  return graded
    .flatMap((image, index) => {
      const own = joined[index]
      return own === undefined ? [] : [{ joined: own, wrong: wrongOf(image), image }]
    })
    .filter(({ wrong }) => wrong > 0)
    .toSorted((a, b) => b.wrong - a.wrong)
}

/** Share of what could be right that is not, with answers that are not there left out: there is nothing to look at. */
function wrongOf({ grades }: GradedImage): number {
  const answered = grades.filter(({ missing }) => missing === 0)
  const total = answered.reduce((sum, grade) => sum + grade.total, 0)
  return total === 0 ? 0 : answered.reduce((sum, grade) => sum + grade.total - grade.right, 0) / total
}

async function drawOne({ gold, records }: JoinedImage, { grades }: GradedImage): Promise<Buffer | null> {
  const record = records.find(({ task }) => task === 'grounded-caption') ?? records[0]
  if (record === undefined) return null
  const opened = await openRecordImage(record)
  if (!opened.ok) return null
  const task = record.task === 'grounded-caption' ? 'grounded-caption' : 'caption'
  const ofTask = records.filter((other) => other.task === task)
  const text = describePicture(ofTask) ?? { phrases: [], caption: '' }
  const answered = grades.filter(({ missing }) => missing === 0)
  const wrong = new Set(answered.filter(({ right, total }) => right < total).map(({ metric }) => metric))
  return await drawLabels({
    image: opened.image,
    ...text,
    title: `${gold.key} · wrong: ${[...wrong].join(', ')}`,
    expected: gold.objects.map(({ box }) => box),
  })
}
