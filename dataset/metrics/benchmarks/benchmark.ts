// What a benchmark is once its files are read: images with what is asked of each, and a score for what was said. It does
// not know models, nor where the files are.
import { UserError } from '../../../schemas/errors.ts'
import type { Box } from '../../../schemas/task-output.ts'

/** The files of a benchmark's folder, by paths with forward slashes. */
export type BenchmarkFiles = {
  folder: string
  /** Only so many images are asked about and scored. */
  maxImages: number
  names: readonly string[]
  /** Throws UserError for a file that cannot be read or is not JSON. */
  readJson(name: string): Promise<unknown>
  readLines(name: string): Promise<string[]>
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

/** Finds images by name, wherever they lie in the folder. */
export function openImageFinder({ names, folder }: BenchmarkFiles): (name: string) => string {
  const images = names.filter(isImage)
  const byName = new Map(images.map((path) => [path.split('/').at(-1) ?? path, path]))
  const all = new Set(images)
  return (name) => {
    const found = all.has(name) ? name : byName.get(name.split('/').at(-1) ?? name)
    if (found !== undefined) return found
    throw new UserError(`the image ${name} is not in ${folder}; put the benchmark's images there`)
  }
}

/** Finds an image by COCO's number, which its name ends with. */
export function openCocoFinder({ names, folder }: BenchmarkFiles): (id: number) => string {
  const byId = new Map<number, string>()
  for (const name of names.filter(isImage)) {
    const digits = /(\d+)\.\w+$/.exec(name)?.[1]
    if (digits !== undefined) byId.set(Number(digits), name)
  }
  return (id) => {
    const found = byId.get(id)
    if (found !== undefined) return found
    throw new UserError(`no image of ${folder} has the number ${id} at the end of its name`)
  }
}

/** The rows of the first images, in the order of the rows. */
export function firstImages<T extends { key: string }>(
  rows: readonly T[],
  { maxImages }: BenchmarkFiles,
): T[] {
  const keys = new Set([...new Set(rows.map(({ key }) => key))].slice(0, maxImages))
  return rows.filter(({ key }) => keys.has(key))
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

export function percent(share: number): number {
  return Math.round(share * 10_000) / 100
}

/** The files that match, or a UserError that says what was looked for. */
export function fileLike(files: BenchmarkFiles, pattern: RegExp, what: string): string {
  const found = files.names.filter((name) => pattern.test(name))
  const [only] = found
  if (only === undefined) throw new UserError(`${files.folder} has no ${what}`)
  if (found.length > 1)
    throw new UserError(`${files.folder} has several ${what}: ${found.join(', ')}; keep one of them there`)
  return only
}
