// The list of benchmark layouts, and finding out which a folder has. A new one is one file here and one line below.
import { UserError } from '../../../schemas/errors.ts'
import { type BenchmarkFiles, type BenchmarkLayout, listNames } from './benchmark.ts'
import { captionsFiles } from './captions-files.ts'
import { choicesFiles } from './choices-files.ts'
import { docvqaFiles } from './docvqa-files.ts'
import { instancesFiles } from './instances-files.ts'
import { mmeFiles } from './mme-files.ts'
import { popeFiles } from './pope-files.ts'
import { refcocoFiles } from './refcoco-files.ts'
import { vqaFiles } from './vqa-files.ts'

/** Those with the most particular files first: RefCOCO has instances too. */
export const benchmarkLayouts: readonly BenchmarkLayout[] = [
  popeFiles,
  mmeFiles,
  vqaFiles,
  refcocoFiles,
  docvqaFiles,
  choicesFiles,
  captionsFiles,
  instancesFiles,
]

/** The layout that is named, or the one that the folder has. Throws UserError that lists them. */
export function layoutOf({ names, folder }: BenchmarkFiles, kind: string | undefined): BenchmarkLayout {
  const listed = benchmarkLayouts.map((layout) => `  ${layout.kind.padEnd(10)} ${layout.files}`).join('\n')
  if (kind !== undefined) {
    const named = benchmarkLayouts.find((layout) => layout.kind === kind)
    if (named !== undefined) return named
    throw new UserError(`there is no benchmark layout "${kind}"; choose from\n${listed}`)
  }
  const found = benchmarkLayouts.find((layout) => layout.matches(names))
  if (found !== undefined) return found
  throw new UserError(
    `${folder} is neither a run nor a benchmark that is known: it has ${listNames(names)}; a benchmark has\n${listed}`,
  )
}

/** Other layouts that the files fit too: COCO's annotations come with both captions and boxes. */
export function alsoFits({ names }: BenchmarkFiles, layout: BenchmarkLayout): string[] {
  // Boxes are a part of RefCOCO, not another benchmark.
  if (layout === refcocoFiles) return []
  return benchmarkLayouts.filter((other) => other !== layout && other.matches(names)).map(({ kind }) => kind)
}
