// What people decided in Ground Truth about the boxes of an image, as verdicts on the records they came from. Pure; it
// does not know files or runs.
import { intersectionOverUnion } from '../dataset/box-overlap.ts'
import { phraseName } from '../dataset/exports/core/category.ts'
import type { ManifestReview } from '../dataset/exports/ground-truth.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { Box, TaskOutput } from '../schemas/task-output.ts'
import { type Verdict, verdictVersion } from '../schemas/verdict.ts'

export type Reviewed = { verdicts: Verdict[]; problems: string[] }

/**
 * A verification is about every record of the image that has boxes. An adjustment is an edit of those whose boxes are
 * others now, and an accept of the rest: each box goes to the phrase of its class that it overlaps most.
 */
export function verdictsOfReviews(
  reviews: readonly ManifestReview[],
  { records, who }: { records: readonly LabelRecord[]; who: string },
): Reviewed {
  const boxed = records.filter(({ output }) => slotsOf(output).length > 0)
  const adjusted = reviews.findLast(({ verdict }) => verdict === 'edit')
  const found: Reviewed = { verdicts: [], problems: [] }
  if (reviews.length > 0 && boxed.length === 0) found.problems.push('no record of the image has boxes')
  for (const review of reviews) {
    // Whoever adjusts has seen the verification, so an adjustment that is not older speaks for both.
    if (adjusted !== undefined && review !== adjusted && review.at <= adjusted.at) continue
    const at = new Date(/(?:Z|[+-]\d\d:?\d\d)$/.test(review.at) ? review.at : `${review.at}Z`)
    if (Number.isNaN(at.getTime())) {
      found.problems.push(`the creation-date is ${JSON.stringify(review.at.slice(0, 40))}; expected a time`)
      continue
    }
    const outputs = review.verdict === 'edit' ? adjust(boxed, { review, problems: found.problems }) : null
    for (const record of boxed) {
      const output = outputs?.get(record.recordId)
      const verdict = review.verdict === 'edit' ? (output === undefined ? 'accept' : 'edit') : review.verdict
      found.verdicts.push({
        v: verdictVersion,
        recordId: record.recordId,
        verdict,
        ...(output === undefined ? {} : { output }),
        who,
        at: at.toISOString(),
        ...(review.comment === null ? {} : { comment: review.comment.slice(0, 10_000) }),
      })
    }
  }
  return found
}

/** A place that boxes may belong to: a phrase of a caption, or what was looked for. */
type Slot = { name: string; boxes: readonly Box[] }
type Placed = Slot & { recordId: string; taken: Box[] }

function slotsOf(output: TaskOutput | null): Slot[] {
  if (output === null) return []
  if ('phrase' in output) return [{ name: phraseName(output.phrase), boxes: output.boxes }]
  if (!('phrases' in output)) return []
  return output.phrases.map(({ text, boxes }) => ({ name: phraseName(text), boxes }))
}

/** New outputs by recordId, of records that changed. */
function adjust(
  records: readonly LabelRecord[],
  { review, problems }: { review: ManifestReview; problems: string[] },
): Map<string, TaskOutput> {
  const slots: Placed[] = records.flatMap(({ recordId, output }) =>
    slotsOf(output).map((slot) => ({ ...slot, recordId, taken: [] })),
  )
  const size = records.find(({ image }) => image !== null)?.image ?? { width: 1, height: 1 }
  for (const { text, boxes } of review.regions) {
    const name = text === null ? '' : phraseName(text)
    const fitting = slots.filter((slot) => slot.name === name)
    if (fitting.length === 0)
      problems.push(
        `the class ${JSON.stringify(name.slice(0, 100))} is in no phrase of the image; its boxes are left out`,
      )
    for (const box of boxes) nearestSlot(fitting, box)?.taken.push(box)
  }
  const outputs = new Map<string, TaskOutput>()
  for (const { recordId, output } of records) {
    const own = slots.filter((slot) => slot.recordId === recordId)
    const exact = own.map(({ boxes, taken }) => taken.map((box) => sameBox(boxes, { box, size }) ?? box))
    const isSame = own.every(({ boxes }, at) => sortedText(boxes) === sortedText(exact[at] ?? []))
    if (!isSame && output !== null) outputs.set(recordId, withBoxes(output, exact))
  }
  return outputs
}

/** The slot whose boxes it overlaps most; the first where it overlaps none. */
function nearestSlot(slots: readonly Placed[], box: Box): Placed | undefined {
  let best: { slot: Placed; overlap: number } | null = null
  for (const slot of slots) {
    const overlap = Math.max(0, ...slot.boxes.map((one) => intersectionOverUnion(one, box)))
    if (best === null || overlap > best.overlap) best = { slot, overlap }
  }
  return best?.slot
}

/** Manifests hold whole pixels: a box that was not touched comes back a little off, and is the one from before. */
function sameBox(
  boxes: readonly Box[],
  { box, size: { width, height } }: { box: Box; size: { width: number; height: number } },
): Box | undefined {
  const limits = [1 / width, 1 / height, 1 / width, 1 / height]
  return boxes.find((one) => one.every((side, at) => Math.abs(side - (box[at] ?? 0)) <= (limits[at] ?? 0)))
}

function sortedText(boxes: readonly Box[]): string {
  return boxes
    .map((box) => box.join(' '))
    .toSorted()
    .join('|')
}

/** A phrase that lost its last box is one no longer; something looked for may be nowhere. */
function withBoxes(output: TaskOutput, boxes: readonly Box[][]): TaskOutput {
  const cut = (box: Box): Box => {
    const [x0, y0, x1, y1] = box.map((side) => Math.max(0, Math.min(1, side)))
    return [x0 ?? 0, y0 ?? 0, x1 ?? 1, y1 ?? 1]
  }
  if ('phrase' in output) return { ...output, boxes: (boxes[0] ?? []).map(cut) }
  if (!('phrases' in output)) return output
  const phrases = output.phrases.flatMap((phrase, at) => {
    const own = (boxes[at] ?? []).map(cut)
    return own.length === 0 ? [] : [{ ...phrase, boxes: own }]
  })
  return { ...output, phrases }
}
