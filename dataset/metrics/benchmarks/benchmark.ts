// What a benchmark is once its files are read: images with what is asked of each, and a score for what was said. It does
// not know models, nor where the files are.
import { UserError } from '../../../schemas/errors.ts'
import type { Box } from '../../../schemas/task-output.ts'

/** The files of a benchmark's folder, by paths with forward slashes. */
export type BenchmarkFiles = {
  folder: string
  /** Only so many images are asked about and scored. */
  maxImages: number
  /** The split that was asked for by name; undefined: the one that has answers and is not for training. */
  split?: string | undefined
  names: readonly string[]
  /** The folder that holds the images, which may be another one, and their paths below it. */
  imageFolder: string
  imageNames: readonly string[]
  /** Throws UserError for a file that cannot be read or is not JSON. */
  readJson(name: string): Promise<unknown>
  readLines(name: string): Promise<string[]>
  readBytes(name: string): Promise<Buffer>
}

export type BenchmarkItem = { key: string; questions?: string[]; phrases?: string[] }

/** What a run said of one image. */
export type BenchmarkSaid = {
  caption: string | null
  /** Answers by exact question. */
  answers: ReadonlyMap<string, string>
  /** Boxes by exact phrase. */
  boxes: ReadonlyMap<string, readonly Box[]>
  /** The grounded caption's phrases. */
  phrases: readonly { text: string; boxes: readonly Box[] }[]
}

export type BenchmarkScore = {
  /** In percent unless the name says otherwise. */
  rows: { name: string; value: number | null; of: number }[]
  /** What went most wrong first, for a person to look at. */
  worst: WorstCase[]
}

export type WorstCase = {
  key: string
  asked: string
  said: string
  expected: string
  /** True boxes of what was asked for. */
  boxes?: readonly Box[]
  /** Those that were said. */
  saidBoxes?: readonly Box[]
}

export type Benchmark = {
  kind: string
  /** What makes it up, for people. */
  about: string
  tasks: readonly string[]
  items: readonly BenchmarkItem[]
  score(said: ReadonlyMap<string, BenchmarkSaid>): BenchmarkScore
}

/** A layout: one file, one line in the registry. */
export type BenchmarkLayout = {
  kind: string
  /** What its files are called, for people. */
  files: string
  /** Whether the folder looks like it. */
  matches(names: readonly string[]): boolean
  read(files: BenchmarkFiles): Promise<Benchmark>
}

const imageName = /(?:^|\/)(?!\._)[^/]*\.(?:jpe?g|png|webp|gif|tiff?|avif|bmp)$/i

/** By its name; not one of macOS's companions (`._a.jpg`), which hold no picture. */
export function isImage(name: string): boolean {
  return imageName.test(name)
}

/** Finds images by name, wherever they lie in the folder of images. */
export function openImageFinder(files: BenchmarkFiles): (name: string) => string {
  const byName = new Map(files.imageNames.map((path) => [path.split('/').at(-1) ?? path, path]))
  const all = new Set(files.imageNames)
  return (name) => {
    const found = all.has(name) ? name : byName.get(name.split('/').at(-1) ?? name)
    if (found !== undefined) return found
    throw new UserError(`the image ${name} is not in ${describeImages(files)}`)
  }
}

/** Finds an image by COCO's number, which its name ends with. */
export function openCocoFinder(files: BenchmarkFiles): (id: number) => string {
  const byId = new Map<number, string>()
  for (const name of files.imageNames) {
    const digits = /(\d+)\.\w+$/.exec(name)?.[1]
    if (digits !== undefined) byId.set(Number(digits), name)
  }
  return (id) => {
    const found = byId.get(id)
    if (found !== undefined) return found
    throw new UserError(
      `no image has the number ${id} at the end of its name, as in COCO_val2014_${String(id).padStart(12, '0')}.jpg, in ${describeImages(files)}`,
    )
  }
}

function describeImages({ imageFolder, imageNames }: BenchmarkFiles): string {
  const [first] = imageNames
  const seen =
    first === undefined ? 'which has no images' : `which has ${imageNames.length}, such as ${first}`
  return `${imageFolder}, ${seen}; put the benchmark's images there, or name their folder with --images (links are not followed)`
}

/** The rows of the first images, in the order of the rows, with keys as they are found: only these have to be there. */
export function firstImages<T extends { key: string }>(
  rows: readonly T[],
  { maxImages }: BenchmarkFiles,
  find: (key: string) => string,
): T[] {
  const keys = new Set([...new Set(rows.map(({ key }) => key))].slice(0, maxImages))
  return rows.filter(({ key }) => keys.has(key)).map((row) => ({ ...row, key: find(row.key) }))
}

/** One item for each image, with all that is asked of it. */
export function gatherItems(
  asked: readonly { key: string; question?: string; phrase?: string }[],
): BenchmarkItem[] {
  return [...Map.groupBy(asked, ({ key }) => key)].map(([key, own]) => {
    const texts = (values: readonly (string | undefined)[]) => [
      ...new Set(values.filter((value) => value !== undefined)),
    ]
    const questions = texts(own.map(({ question }) => question))
    const phrases = texts(own.map(({ phrase }) => phrase))
    return {
      key,
      ...(questions.length === 0 ? {} : { questions }),
      ...(phrases.length === 0 ? {} : { phrases }),
    }
  })
}

/** Each row with the answer to its question, empty where there is none. */
export function withAnswers<T extends { key: string; question: string }>(
  rows: readonly T[],
  said: ReadonlyMap<string, BenchmarkSaid>,
): (T & { said: string })[] {
  return rows.map((row) => ({ ...row, said: said.get(row.key)?.answers.get(row.question) ?? '' }))
}

/** An answer for a person to look at. */
export function worstAnswer(
  { key, question, said }: { key: string; question: string; said: string },
  expected: string,
): WorstCase {
  return { key, asked: question, said, expected }
}

export function percent(share: number): number {
  return Math.round(share * 10_000) / 100
}

/**
 * The one file that matches. Of several, as releases have them for each split, the one of the split that was asked for,
 * else the one that is for validation. Throws UserError that says which there are.
 */
export function fileLike(files: BenchmarkFiles, pattern: RegExp, what: string): string {
  const { folder, names, split } = files
  const found = names.filter((name) => pattern.test(name))
  if (found.length === 0) throw new UserError(`${folder} has no ${what}; it has ${listNames(names)}`)
  const isOf = (wanted: string) => (name: string) => baseName(name).toLowerCase().includes(wanted)
  const ofSplit = split === undefined ? found : found.filter(isOf(split.toLowerCase()))
  if (ofSplit.length === 0)
    throw new UserError(`${folder} has no ${what} of the split "${split}"; it has ${found.join(', ')}`)
  const forValidation = ofSplit.filter(isOf('val'))
  const [only, ...others] = ofSplit.length > 1 && forValidation.length > 0 ? forValidation : ofSplit
  if (only !== undefined && others.length === 0) return only
  throw new UserError(
    `${folder} has several ${what}: ${found.join(', ')}; name one with --split, as in --split val, or give the folder of one`,
  )
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

const listedNames = 5

/** What a folder has, for messages: a few of the names that are no images. */
export function listNames(names: readonly string[]): string {
  const images = names.filter(isImage).length
  const others = names.filter((name) => !isImage(name) && !/(?:^|\/)\./.test(name))
  const more = others.length - listedNames
  const parts = [...others.slice(0, listedNames), ...(more > 0 ? [`${more} more files`] : [])]
  if (images > 0) parts.push(`${images} image${images === 1 ? '' : 's'}`)
  return parts.length === 0 ? 'no files' : parts.join(', ')
}
