// Exporting a run: its newest records, image by image, with verdicts merged, filtered, split and written in a format.
// It knows no format by name and holds one image at a time; splitting holds a line for each image.
import { InvariantError, UserError } from '../../../schemas/errors.ts'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import type { RunConfig } from '../../../schemas/run-config.ts'
import type { Verdict } from '../../../schemas/verdict.ts'
import { sha256Hex } from '../../canonical-json.ts'
import { type ContentOf, currentSha256, localContent } from '../../current-content.ts'
import { parseRecord, readRecordLines } from '../../read.ts'
import { readContent, sortedRows } from '../../sorted-rows.ts'
import type { ObjectStore } from '../../stores/object-store.ts'
import { readVerdicts } from '../../verdicts.ts'
import { renderCard } from './card.ts'
import { listFiles, openFolderSink, writeFileWhole } from './files.ts'
import type { ExportFormat, ExportSink, FileSink, FormatWriter, ImageMode, Review } from './format.ts'
import { type ImagePorts, openExportImage } from './images.ts'
import { type BrokenRule, checkLoading } from './rules.ts'
import {
  assignSplits,
  type Assignment,
  movedSince,
  type Moved,
  type SplitImage,
  type SplitShares,
} from './split.ts'
import { add, countImage, countSeen, countVerdict, emptyStatistics, type Statistics } from './statistics.ts'
import { UnfitImage } from './unfit-image.ts'
import type { Predicate } from './where.ts'

export type ExportSplit = {
  shares: SplitShares
  seed: number
  groupDepth: number
  /** An earlier export's parts by key, to tell who moved; null where there is none. */
  previous: ReadonlyMap<string, string> | null
}

export type ExportOptions = {
  store: ObjectStore
  config: RunConfig
  format: ExportFormat
  /** An empty folder on this machine. */
  folder: string
  ports: ImagePorts
  imageMode: ImageMode
  stripsMetadata: boolean
  /** Those of the run when left out. */
  verdicts?: ReadonlyMap<string, Verdict>
  where: Predicate | null
  split: ExportSplit | null
  checks: boolean
  command: string
  /** What each check looks for, for the card. */
  checkSummaries?: ReadonlyMap<string, string>
  /** The command lines that made the labels, where they are known. */
  labelCommands?: readonly string[]
  version: string
  clock: () => Date
  onProgress: (progress: ExportProgress) => void
}

export type ExportProgress = { phase: 'grouping' | 'writing' | 'checking'; records: number; images: number }

export type ExportReport = {
  images: number
  records: number
  statistics: Statistics
  files: string[]
  moved: Moved[]
  warnings: string[]
  /** Rules of loaders that the export breaks; null when they were not checked. */
  broken: BrokenRule[] | null
}

/** Writes the export and its card. Throws UserError for what the user can mend. */
export async function exportRun(options: ExportOptions): Promise<ExportReport> {
  const { store, format, folder, split, config, imageMode, clock } = options
  if (!format.imageModes.includes(imageMode))
    throw new UserError(
      `${format.name} cannot have its images by ${imageMode}; expected one of ${format.imageModes.join(', ')}`,
    )
  if (options.stripsMetadata && (imageMode === 'link' || imageMode === 'reference'))
    throw new UserError(
      `--strip-metadata changes images that are copied or embedded, and these go by ${imageMode}; ask for another of ${format.imageModes.join(', ')} with --images`,
    )
  const sink = openFolderSink(folder)
  const verdicts = options.verdicts ?? (await readVerdicts(store))
  const statistics = emptyStatistics()
  for (const verdict of verdicts.values()) countVerdict(statistics, verdict)
  const assignments = split === null ? null : assignSplits(await readSplitImages(options), split)
  const createdAt = clock().toISOString()
  const writer = format.open({ sink, imageMode, createdAt, modelName: config.model.name })
  const leftOut = lazyLines(sink, 'left-out.jsonl')
  const splits = lazyLines(sink, 'splits.jsonl')
  await writeImages({ options, sink, writer, verdicts, assignments, statistics, leftOut, splits })
  await writer.close()
  await leftOut.close()
  await splits.close()
  const moved = split?.previous == null || assignments === null ? [] : movedSince(split.previous, assignments)
  if (moved.length > 0) await writeLines(sink, 'moved.jsonl', moved)
  const warnings = split === null ? [] : splitWarnings(statistics, split)
  const files = await listFiles(folder)
  const broken = options.checks ? await check(options, { files, statistics }) : null
  const card = renderCard({
    format,
    config,
    statistics,
    command: options.command,
    version: options.version,
    createdAt,
    split: split === null ? null : { shares: sharesText(split.shares), seed: split.seed, warnings },
    broken,
    files,
    checkSummaries: options.checkSummaries ?? new Map(),
    labelCommands: options.labelCommands ?? [],
  })
  for (const [path, text] of Object.entries(card)) await writeFileWhole(sink, path, text)
  const { images, records } = statistics
  return { images, records, statistics, files: [...files, ...Object.keys(card)], moved, warnings, broken }
}

async function check(
  { format, folder, onProgress }: ExportOptions,
  { files, statistics: { images, records } }: { files: string[]; statistics: Statistics },
): Promise<BrokenRule[]> {
  onProgress({ phase: 'checking', images, records })
  return await checkLoading(format, { folder, names: files })
}

type Lines = { add(value: unknown): Promise<void>; close(): Promise<void> }

/** A file of lines that is there only when it has some. */
function lazyLines(sink: ExportSink, path: string): Lines {
  let file: FileSink | null = null
  return {
    async add(value) {
      file ??= await sink.create(path)
      await file.write(`${JSON.stringify(value)}\n`)
    },
    close: async () => await file?.close(),
  }
}

async function writeLines(sink: ExportSink, path: string, values: readonly unknown[]): Promise<void> {
  const lines = lazyLines(sink, path)
  for (const value of values) await lines.add(value)
  await lines.close()
}

type Content = { image: SplitImage; newest: string }

/** One line of each image of the run, whatever is exported of it: the split must not depend on a filter. */
async function readSplitImages(options: ExportOptions): Promise<SplitImage[]> {
  const { store, onProgress } = options
  const images = new Map<string, Content[]>()
  let records = 0
  for await (const line of readRecordLines(store)) {
    const { source, createdAt } = parseRecord(line, store)
    records += 1
    if (records % 1000 === 0) onProgress({ phase: 'grouping', records, images: images.size })
    const { uri, key, sha256, perceptualHash = null } = source
    if (sha256 === null) continue
    const contents = images.get(uri) ?? []
    const known = contents.find(({ image }) => image.sha256 === sha256)
    if (known === undefined) {
      const content = { image: { uri, key, sha256, perceptualHash, createdAt }, newest: createdAt }
      images.set(uri, [...contents, content])
      continue
    }
    if (createdAt < known.image.createdAt) known.image.createdAt = createdAt
    if (createdAt > known.newest) known.newest = createdAt
  }
  const current: SplitImage[] = []
  for (const contents of images.values()) {
    const facts = contents.map(({ image, newest }) => ({ source: image, createdAt: newest }))
    const sha256 = await currentSha256(facts, contentOf(options))
    current.push(...contents.map(({ image }) => image).filter((image) => image.sha256 === sha256))
  }
  return current
}

/** What an image is now, through the port that its bytes come from, where they are wanted at all. */
function contentOf({ imageMode, ports }: ExportOptions): ContentOf {
  if (imageMode === 'reference') return localContent
  return async (uri) => {
    const bytes = await unlessUnfit(ports.readImage(uri))
    return bytes === null || bytes instanceof UnfitImage ? null : sha256Hex(bytes)
  }
}

type WriteImages = {
  options: ExportOptions
  sink: ExportSink
  writer: FormatWriter
  verdicts: ReadonlyMap<string, Verdict>
  assignments: ReadonlyMap<string, Assignment> | null
  statistics: Statistics
  leftOut: Lines
  splits: Lines
}

async function writeImages(work: WriteImages): Promise<void> {
  const { store, folder } = work.options
  let group: LabelRecord[] = []
  for await (const { line } of sortedRows(store, {
    prefix: `${folder}/.sort-`,
    contentOf: contentOf(work.options),
  })) {
    const record = parseRecord(line, store)
    // One key may stand for images of several buckets.
    if (group[0] !== undefined && group[0].source.uri !== record.source.uri) {
      await writeImage(group, work)
      group = []
    }
    group.push(record)
  }
  if (group.length > 0) await writeImage(group, work)
}

async function writeImage(group: readonly LabelRecord[], work: WriteImages): Promise<void> {
  const { options, writer, statistics, sink, assignments, leftOut, splits } = work
  const current = readContent(group, (record) => record)
  const { records, reviews } = choose(current, work)
  const [first] = records
  if (first === undefined) return
  const { source, image } = first
  if (image === null || source.sha256 === null)
    throw new InvariantError(`${first.recordId} has a label but no image`)
  const { imageMode, stripsMetadata, ports } = options
  const { key, uri, sha256 } = source
  const { width, height } = image
  const split = assignments?.get(uri) ?? null
  const named = { key, index: statistics.images, uri, sha256, width, height }
  const write = async () =>
    await writer.write({
      ...named,
      records,
      reviews,
      split: split?.split ?? null,
      ...(await openExportImage(first, { imageMode, stripsMetadata, sink, ports })),
    })
  const entries = await unlessUnfit(write())
  if (entries instanceof UnfitImage) {
    const { message: reason, cause } = entries
    const detail = cause instanceof Error ? cause.message : undefined
    add(statistics.leftOut, `image ${reason}`)
    await leftOut.add({ key, uri, reason, detail, records: records.length })
    return
  }
  const isTurned = imageMode !== 'link' && imageMode !== 'reference' && ports.toJpeg !== undefined
  if (image.orientation !== 1 && !isTurned) statistics.rotated += 1
  statistics.entries += entries
  if (entries === 0) add(statistics.leftOut, 'images of which the format can hold nothing')
  if (split !== null && entries > 0) await splits.add(split)
  countImage(statistics, { records, split: split?.split ?? null })
  if (statistics.images % 100 === 0)
    options.onProgress({ phase: 'writing', records: statistics.records, images: statistics.images })
}

/** What comes of an image, or why it is left out. */
async function unlessUnfit<T>(work: Promise<T>): Promise<T | UnfitImage> {
  try {
    return await work
  } catch (error) {
    if (error instanceof UnfitImage) return error
    throw error
  }
}

/** Records that are labels, with edits in place; what was rejected or filtered is left out and counted. */
function choose(
  group: readonly LabelRecord[],
  { verdicts, statistics, options: { where } }: WriteImages,
): { records: LabelRecord[]; reviews: Review[] } {
  const records: LabelRecord[] = []
  const reviews: Review[] = []
  for (const record of group) {
    countSeen(statistics, record)
    const verdict = verdicts.get(record.recordId) ?? null
    if (verdict !== null) reviews.push(reviewOf(record, verdict))
    const merged = merge(record, verdict)
    if (typeof merged === 'string') add(statistics.leftOut, merged)
    else if (where !== null && !where(merged)) add(statistics.leftOut, 'not wanted by --where')
    else records.push(merged)
  }
  return { records, reviews }
}

/** The record as people left it, or why it is left out. A person's yes outranks a check's no. */
function merge(record: LabelRecord, verdict: Verdict | null): LabelRecord | string {
  if (verdict?.verdict === 'reject') return 'rejected by a person'
  // A failed record may have been written by hand since.
  if (verdict?.verdict === 'edit' && verdict.output !== undefined && record.image !== null)
    return { ...record, status: 'ok', error: null, output: verdict.output }
  if (record.status === 'failed') return 'failed'
  // An image that was turned down before it was asked about has nothing that a person could accept.
  if (record.status === 'filtered' && (verdict?.verdict !== 'accept' || record.output === null))
    return 'turned down by a check'
  return record
}

function reviewOf(record: LabelRecord, { verdict, who, at, comment, output }: Verdict): Review {
  if (verdict === 'withdraw') throw new InvariantError(`a withdrawn verdict of ${record.recordId} was read`)
  const after = verdict === 'edit' ? (output ?? null) : record.output
  const { recordId, task, output: before } = record
  return { recordId, verdict, who, at, comment: comment ?? null, task, before, after }
}

function splitWarnings({ images, splits }: Statistics, { shares, groupDepth }: ExportSplit): string[] {
  return shares.flatMap(({ name, share }) => {
    const got = splits[name] ?? 0
    // Beyond four standard deviations of a fair draw of single images: groups are what makes it so.
    const spread = 4 * Math.sqrt(share * (1 - share) * images)
    if (Math.abs(got - share * images) <= Math.max(1, spread)) return []
    const hint = groupDepth > 0 ? '; images of one folder stay together, --group-depth 0 lifts that' : ''
    return [
      `${name} has ${got} of ${images} images where ${share} of them was asked for: groups cannot be cut${hint}`,
    ]
  })
}

function sharesText(shares: SplitShares): string {
  return shares.map(({ name, share }) => `${name}=${share}`).join(',')
}
