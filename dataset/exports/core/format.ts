// What an export format is: a writer, a reader, what gets lost, and the rules of whoever loads the files.
// It does not know any format, nor where images and records come from.
import type { LabelRecord } from '../../../schemas/label-record.ts'
import type { Box, TaskOutput } from '../../../schemas/task-output.ts'
import type { IdSet } from './id-set.ts'

/** copy, link: files in the export; reference: the source's URI stands in the file; embed: bytes inside the data file. */
export type ImageMode = 'copy' | 'link' | 'reference' | 'embed'

/** What a person changed in a record, or confirmed: for formats that can say so. */
export type Review = {
  recordId: string
  verdict: 'accept' | 'reject' | 'edit'
  who: string
  at: string
  comment: string | null
  task: string
  before: TaskOutput | null
  after: TaskOutput | null
}

/** One image with its labels, as a writer gets it. */
export type ExportImage = {
  /** The image's name in the run. */
  key: string
  /** Counts the images of the export from 0, in order of key. */
  index: number
  uri: string
  sha256: string
  mime: string
  /** Pixels, upright. */
  width: number
  height: number
  /** In order of task and ordinal; verdicts are merged in. Never empty. */
  records: readonly LabelRecord[]
  reviews: readonly Review[]
  /** Which part of the split the image belongs to; null where nothing is split. */
  split: string | null
  /** The bytes as they are exported: stripped or converted where that was asked for. A JPEG may be grey or of inks. */
  bytes(as?: 'jpeg' | 'rgb-jpeg'): Promise<Uint8Array>
  /** Puts the image at a path of the export, or refers to it; returns what a data file shall say. */
  place(wanted?: { path: string; as?: 'jpeg' }): Promise<string>
}

/** A file of the export while it is written. */
export type FileSink = {
  write(chunk: string | Uint8Array): Promise<void>
  close(): Promise<void>
}

export type ExportSink = {
  /** The folder on disk, for what must write there itself. */
  folder: string
  /** Begins a new file. Throws UnfitImage where there is one already. */
  create(path: string): Promise<FileSink>
}

export type WriterContext = { sink: ExportSink; imageMode: ImageMode; createdAt: string; modelName: string }

export type FormatWriter = {
  /**
   * Returns how many entries it wrote: rows, annotations or samples; 0 where the format can hold nothing of the image.
   * Asks for the image before it writes anything of it: one that is unfit is left out.
   */
  write(image: ExportImage): Promise<number>
  /** Closes every file; what has to stand at an end is written now. */
  close(): Promise<void>
}

/** What a reader gets back of a label. Boxes are fractions of the upright image again. */
export type ReadRegion = {
  text: string | null
  /** Offsets into the text or the one answer; null where the format has none. */
  start: number | null
  end: number | null
  boxes: Box[]
}
export type ReadLabel = {
  recordId: string | null
  /** A text that nobody asked for in words: a caption. */
  text: string | null
  turns: { question: string; answer: string }[]
  regions: ReadRegion[]
}
export type ReadImage = {
  /** As the data file names it. */
  image: string
  width: number | null
  height: number | null
  labels: ReadLabel[]
}

/** The files of an export that is read: names below the folder, with forward slashes. */
export type ExportFiles = { folder: string; names: readonly string[] }

/** One thing a data file holds, as it stands there. `section` names the array or file kind it was found in. */
export type RawRow = {
  file: string
  section: string
  /** Counts the rows of a file from 1. */
  number: number
  value: unknown
}

export type RuleContext = {
  files: ExportFiles
  /** A rule's own, for one check of one export; held in memory, so it is for what is few. */
  seen: Set<string>
  /** Numbers that a rule saw, a set for each name; for what there are millions of. */
  ids(name: string): IdSet
  /** The row before, of any file. */
  previous: RawRow | null
}

/** A rule of a loader, to be checked on rows in order. */
export type LoadingRule = {
  name: string
  /** What the loader demands, as a sentence. */
  says: string
  /** Where the loader says or does so: repository and path, or document. */
  source: string
  /** What is wrong with a row, or null. */
  problem(row: RawRow, context: RuleContext): string | null
  /** What is wrong with all of the rows together, or null; asked once, after them. */
  problemAtEnd?(context: RuleContext): string | null
}

export type ExportFormat = {
  name: string
  /** One line for `--help`. */
  summary: string
  /** The first is what happens when nothing is asked for. */
  imageModes: readonly ImageMode[]
  /** What of a record does not survive; for the card. */
  lost: readonly string[]
  rules: readonly LoadingRule[]
  /** Which files the `datasets` library of Hugging Face takes for rows; left out where it can make none of them. */
  hubFiles?: RegExp
  open(context: WriterContext): FormatWriter
  rows(files: ExportFiles): AsyncGenerator<RawRow>
  read(files: ExportFiles): AsyncGenerator<ReadImage>
}
