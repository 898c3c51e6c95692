// `coglabel import-reviews`: what people decided in Ground Truth becomes verdicts of a run. It does not know boxes.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { type ManifestReview, readReviews } from '../dataset/exports/ground-truth.ts'
import { writeVerdict } from '../dataset/verdicts.ts'
import { verdictsOfReviews } from '../review/ground-truth.ts'
import type { IndexedImage } from '../review/index-entry.ts'
import { openRunIndex, type RunIndex } from '../review/run-index.ts'
import { UserError } from '../schemas/errors.ts'
import { openReviewCache } from './review-cache.ts'
import type { VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'
import { openRunFolder } from './open-run-folder.ts'

const nobody = 'ground-truth'

export const importReviewsUsage = `coglabel import-reviews DIR MANIFEST [options]

Reads the output manifest of a Ground Truth job that verified or adjusted the boxes of an export of the run in DIR
(coglabel export --format ground-truth), and writes what people decided as verdicts: good accepts, bad rejects, an
adjustment edits. Images are found by their URI, or else by the end of it. Doing it again changes nothing.

  --as NAME       who judged (${nobody}; Ground Truth names nobody)
  --dry-run       says what would be written

Exit code: 0 all read, 1 fatal, 2 wrong usage, 3 some lines could not be used.`

/** Longer lines are no manifest. */
const maxLineChars = 10 * 1024 * 1024
const maxProblemsShown = 20

type Counts = { accept: number; reject: number; edit: number }

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runImportReviews(args: readonly string[], root: VerbRoot): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { 'as': { type: 'string', default: nobody }, 'dry-run': { type: 'boolean', default: false } },
  })
  const [run, manifest, ...rest] = positionals
  if (run === undefined || manifest === undefined || rest.length > 0)
    throw new UserError(
      `import-reviews takes a run folder and a manifest, got ${positionals.length} names: coglabel import-reviews DIR MANIFEST`,
    )
  const isFile = await stat(manifest).then(
    (stats) => stats.isFile(),
    () => false,
  )
  if (!isFile)
    throw new UserError(`"${manifest}" is no file; expected the output.manifest of a Ground Truth job`)
  const { store } = await openRunFolder(run)
  const cache = await openReviewCache(run)
  const index = await openRunIndex(store, cache.folder)
  try {
    const find = imageFinder(index)
    const counts: Counts = { accept: 0, reject: 0, edit: 0 }
    let [problems, reviewed] = [0, 0]
    const complain = (line: number, problem: string) => {
      problems += 1
      if (problems <= maxProblemsShown) root.tell(`${manifest}, line ${line}: ${problem}`)
    }
    for await (const { line, reviews } of readManifest(manifest, complain)) {
      reviewed += 1
      const image = find(reviews[0]?.image ?? '')
      if (image === null) {
        complain(line, `${reviews[0]?.image} is no image of this run`)
        continue
      }
      const found = verdictsOfReviews(reviews, { records: await index.readRecords(image), who: values.as })
      for (const problem of found.problems) complain(line, problem)
      for (const verdict of found.verdicts) {
        if (verdict.verdict !== 'withdraw') counts[verdict.verdict] += 1
        if (!values['dry-run']) await writeVerdict(store, verdict)
      }
    }
    if (reviewed === 0)
      complain(
        1,
        'neither this line nor another says what a person decided; give output.manifest of such a job',
      )
    if (problems > maxProblemsShown) root.tell(`… and ${problems - maxProblemsShown} more`)
    const { accept, reject, edit } = counts
    root.print(
      `${counted(accept + reject + edit, 'verdict')}${values['dry-run'] ? ' would be written' : ''}: ${accept} accepted, ${reject} rejected, ${edit} edited`,
    )
    return problems > 0 ? 3 : 0
  } finally {
    await index.close()
    await cache.close()
  }
}

/** Lines that say something of a review, with their number. */
async function* readManifest(
  path: string,
  complain: (line: number, problem: string) => void,
): AsyncGenerator<{ line: number; reviews: ManifestReview[] }> {
  let line = 0
  for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    line += 1
    if (text.trim() === '') continue
    try {
      if (text.length > maxLineChars) throw new SyntaxError(`it has ${text.length} characters`)
      const reviews = readReviews(JSON.parse(text))
      if (reviews.length > 0) yield { line, reviews }
    } catch (error) {
      if (error instanceof z.ZodError) complain(line, z.prettifyError(error))
      else if (error instanceof SyntaxError) complain(line, `is no line of a manifest: ${error.message}`)
      else throw error
    }
  }
}

/** By URI; for images that were uploaded since, by the end of it, where that names one image. */
function imageFinder({ images }: RunIndex): (uri: string) => IndexedImage | null {
  const byUri = new Map(images.map((image) => [image.uri, image]))
  const byKey = new Map(images.map((image) => [image.key, image]))
  return (uri) => {
    const known = byUri.get(uri)
    if (known !== undefined) return known
    const parts = uri.replace(/^s3:\/\/[^/]+\//, '').split('/')
    for (let from = 0; from < parts.length; from += 1) {
      const found = byKey.get(parts.slice(from).join('/'))
      if (found !== undefined) return found
    }
    return null
  }
}
