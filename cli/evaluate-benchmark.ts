// `coglabel evaluate` on the folder of a public benchmark: label what it asks, score what was said, show the worst. It
// does not know how a benchmark is read or scored.
import { join, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import type {
  Benchmark,
  BenchmarkFiles,
  BenchmarkItem,
  BenchmarkSaid,
  BenchmarkScore,
  WorstCase,
} from '../dataset/metrics/benchmarks/benchmark.ts'
import { alsoFits, layoutOf } from '../dataset/metrics/benchmarks/registry.ts'
import type { ImageSource } from '../dataset/ingest.ts'
import { readByKey } from '../dataset/current-content.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import { drawLabels } from '../gpu-worker/image/draw.ts'
import { encodeJpeg } from '../gpu-worker/image/encode.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { RunModel } from '../schemas/run-config.ts'
import { renderTable } from './evaluation-table.ts'
import { renderReport } from './evaluation-html.ts'
import { runLabel, type LabelRoot } from './label.ts'
import { openRunFolder } from './open-run-folder.ts'
import { openRecordImage } from './pictures.ts'
import { writeWhole } from './write-whole.ts'

export type BenchmarkFlags = {
  out: string
  kind: string | undefined
  worstCount: number
  /** Passed on to labelling. */
  labelArgs: readonly string[]
}

/** What evaluation.json holds. */
type BenchmarkEvaluation = {
  v: 1
  benchmark: string
  about: string
  model: RunModel
  images: number
  rows: BenchmarkScore['rows']
}

/** Labels and scores; returns the exit code. */
export async function evaluateBenchmark(
  files: BenchmarkFiles,
  flags: BenchmarkFlags,
  root: LabelRoot,
): Promise<number> {
  const layout = layoutOf(files, flags.kind)
  const benchmark = await layout.read(files)
  const { out, labelArgs, worstCount } = flags
  const { items, tasks } = benchmark
  const code = await labelItems({ files, items, out, tasks, labelArgs }, root)
  if (code !== 0 && code !== 3) return code
  const run = await readLabelled(out)
  const score = benchmark.score(new Map([...run.records].map(([key, own]) => [key, hear(own)])))
  const places = await writeEvaluation({ benchmark, score, run, out, worstCount })
  const others = flags.kind === undefined ? alsoFits(files, layout) : []
  root.print(
    [
      aboutRun(benchmark, run),
      '',
      ...renderTable(tableOf(score)),
      '',
      ...places,
      ...others.map((kind) => `its files are a benchmark of ${kind} too: --kind ${kind}`),
    ].join('\n'),
  )
  return code
}

/** A benchmark's run: what answered, and what was said of each image. */
type Labelled = { model: RunModel; records: ReadonlyMap<string, LabelRecord[]> }

async function readLabelled(out: string): Promise<Labelled> {
  const { store, config } = await openRunFolder(out)
  return { model: config.model, records: await readByKey(store) }
}

function aboutRun({ about, items }: Benchmark, { model }: Labelled): string {
  return `${about}; ${model.name} (${model.weights}), ${items.length} images`
}

type Written = { benchmark: Benchmark; score: BenchmarkScore; run: Labelled; out: string; worstCount: number }

/** Returns lines that say where figures and report are. */
async function writeEvaluation({ benchmark, score, run, out, worstCount }: Written): Promise<string[]> {
  const [figures, report] = [join(out, 'evaluation.json'), join(out, 'evaluation.html')]
  const { kind, about, items } = benchmark
  const evaluation: BenchmarkEvaluation = {
    v: 1,
    benchmark: kind,
    about,
    model: run.model,
    images: items.length,
    rows: score.rows,
  }
  await writeWhole(figures, `${JSON.stringify(evaluation, null, 1)}\n`)
  const worst = score.worst.slice(0, worstCount)
  const cases = await Promise.all(
    worst.map(async (one) => await showCase(one, run.records.get(one.key) ?? [])),
  )
  const [head = [], ...rows] = tableOf(score)
  const title = `${kind}: ${run.model.name}`
  await writeWhole(report, renderReport({ title, about: aboutRun(benchmark, run), head, rows, cases }))
  return [`figures: ${figures}`, `report, the worst pictured: ${report}`]
}

type LabelItems = {
  files: BenchmarkFiles
  items: readonly BenchmarkItem[]
  out: string
  tasks: readonly string[]
  labelArgs: readonly string[]
}

/** Labels the items without checks: what is measured is what the model says. Returns the exit code. */
export async function labelItems(
  { files, items, out, tasks, labelArgs }: LabelItems,
  root: LabelRoot,
): Promise<number> {
  const args = [files.imageFolder, '--out', out, '--tasks', tasks.join(','), '--checks', 'none', ...labelArgs]
  return await runLabel(args, { ...root, print: () => {} }, { source: sourceOf(files, items) })
}

/** The benchmark's images in its order, with what is asked of each. */
function sourceOf({ imageFolder }: BenchmarkFiles, items: readonly BenchmarkItem[]): ImageSource {
  const path = resolve(imageFolder)
  return {
    source: { kind: 'folder', uri: pathToFileURL(path + sep).href },
    store: openFsStore(path),
    scan: async () => ({
      images: items.length,
      skipped: {},
      brings: {
        questions: items.some(({ questions }) => questions !== undefined),
        phrases: items.some(({ phrases }) => phrases !== undefined),
      },
    }),
    async *items() {
      yield* items
    },
  }
}

function hear(records: readonly LabelRecord[]): BenchmarkSaid {
  const answers = new Map<string, string>()
  const boxes = new Map<string, BenchmarkSaid['phrases'][number]['boxes']>()
  let [caption, phrases]: [string | null, BenchmarkSaid['phrases']] = [null, []]
  for (const { output, status, inputs } of records) {
    if (output === null || status !== 'ok') continue
    if ('turns' in output) for (const { question, answer } of output.turns) answers.set(question, answer)
    else if ('phrase' in output) boxes.set(output.phrase, output.boxes)
    else if ('phrases' in output && inputs === undefined) phrases = output.phrases
    else if ('text' in output) caption = output.text
  }
  return { caption, answers, boxes, phrases }
}

function tableOf({ rows }: BenchmarkScore): string[][] {
  const figure = (value: number | null) => (value === null ? '–' : value.toFixed(2))
  return [['', 'score', 'of'], ...rows.map(({ name, value, of }) => [name, figure(value), String(of)])]
}

async function showCase(
  { key, asked, said, expected, boxes = [], saidBoxes = [] }: WorstCase,
  records: readonly LabelRecord[],
) {
  const [record] = records
  const opened = record === undefined ? null : await openRecordImage(record)
  const phrases =
    saidBoxes.length === 0 ? [] : [{ text: asked, boxes: saidBoxes, span: { start: 0, end: 0 } }]
  const picture =
    opened?.ok === true
      ? await encodeJpeg(
          await drawLabels({ image: opened.image, phrases, caption: '', expected: [...boxes] }),
          key,
        )
      : null
  const facts = [
    ['asked', asked],
    ['said', said === '' ? '(nothing)' : said],
    ['expected', expected],
  ] as const
  return { title: key, facts: [...facts], picture }
}
