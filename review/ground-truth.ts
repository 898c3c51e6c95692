// What people decided in Ground Truth about the boxes of an image, as verdicts on the records they came from. Pure; it
// does not know files or runs.
import { intersectionOverUnion } from '../dataset/box-overlap.ts'
import { phraseName } from '../dataset/exports/core/category.ts'
import { contentOfRecord } from '../dataset/exports/core/content.ts'
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
  const boxed = records.filter((record) => slotsOf(record).length > 0)
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

/** A place that boxes may belong to: a phrase of a caption, what was looked for, what was described. */
type Slot = { name: string; boxes: readonly Box[] }
/** `left` are its boxes that no box of the manifest stands for yet. */
type Placed = Slot & { recordId: string; taken: Box[]; left: Box[] }

function slotsOf(record: LabelRecord): Slot[] {
  return contentOfRecord(record).regions.map(({ text, boxes }) => ({ name: phraseName(text), boxes }))
}

/** New outputs by recordId, of records that changed. */
function adjust(
  records: readonly LabelRecord[],
  { review, problems }: { review: ManifestReview; problems: string[] },
): Map<string, TaskOutput> {
  const slots: Placed[] = records.flatMap((record) =>
    slotsOf(record).map((slot) => ({
      ...slot,
      recordId: record.recordId,
      taken: [],
      left: [...slot.boxes],
    })),
  )
  const size = records.find(({ image }) => image !== null)?.image ?? { width: 1, height: 1 }
  const moved: { fitting: Placed[]; box: Box }[] = []
  for (const { text, boxes } of review.regions) {
    const name = text === null ? '' : phraseName(text)
    const fitting = slots.filter((slot) => slot.name === name)
    if (fitting.length === 0)
      problems.push(
        `the class ${JSON.stringify(name.slice(0, 100))} is in no phrase of the image; its boxes are left out`,
      )
    // Several records may have one box: each gets its own back before any box counts as moved or new.
    for (const box of boxes) if (!takeUntouched(fitting, { box, size })) moved.push({ fitting, box })
  }
  for (const { fitting, box } of moved) takeMoved(fitting, box)
  const outputs = new Map<string, TaskOutput>()
  for (const { recordId, output } of records) {
    const own = slots.filter((slot) => slot.recordId === recordId)
    const isSame = own.every(({ boxes, taken }) => sortedText(boxes) === sortedText(taken))
    if (isSame || output === null) continue
    outputs.set(
      recordId,
      withBoxes(
        output,
        own.map(({ taken }) => taken),
      ),
    )
  }
  return outputs
}

type Sized = { box: Box; size: { width: number; height: number } }

/** Manifests hold whole pixels: a box that was not touched comes back a little off, and is the one from before. */
function takeUntouched(slots: readonly Placed[], { box, size: { width, height } }: Sized): boolean {
  const limits = [1 / width, 1 / height, 1 / width, 1 / height]
  const isNear = (one: Box) => one.every((side, at) => Math.abs(side - (box[at] ?? 0)) <= (limits[at] ?? 0))
  const best = bestOf(slots, (slot) => slot.left.filter(isNear), box)
  if (best === null) return false
  best.slot.taken.push(best.box)
  best.slot.left.splice(best.slot.left.indexOf(best.box), 1)
  return true
}

/** Goes where it overlaps most what is still missing there; else to what it overlaps most, or to the first, as a new one. */
function takeMoved(slots: readonly Placed[], box: Box): void {
  const missing = bestOf(slots, ({ left }) => left, box)
  if (missing !== null && missing.overlap > 0) {
    missing.slot.taken.push(box)
    missing.slot.left.splice(missing.slot.left.indexOf(missing.box), 1)
    return
  }
  const nearest = bestOf(slots, ({ boxes }) => boxes, box)
  const slot = nearest !== null && nearest.overlap > 0 ? nearest.slot : slots[0]
  slot?.taken.push(box)
}

/** The box, of those that slots offer, which overlaps another most, and whose it is. */
function bestOf(
  slots: readonly Placed[],
  offers: (slot: Placed) => readonly Box[],
  box: Box,
): { slot: Placed; box: Box; overlap: number } | null {
  let best: { slot: Placed; box: Box; overlap: number } | null = null
  for (const slot of slots) {
    for (const one of offers(slot)) {
      const overlap = intersectionOverUnion(one, box)
      if (best === null || overlap > best.overlap) best = { slot, box: one, overlap }
    }
  }
  return best
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
  if ('phrase' in output || 'value' in output) return { ...output, boxes: (boxes[0] ?? []).map(cut) }
  if ('regions' in output)
    return {
      ...output,
      regions: output.regions.flatMap((region, at) =>
        (boxes[at] ?? []).map((box) => ({ ...region, box: cut(box) })),
      ),
    }
  if (!('phrases' in output)) return output
  const phrases = output.phrases.flatMap((phrase, at) => {
    const own = (boxes[at] ?? []).map(cut)
    return own.length === 0 ? [] : [{ ...phrase, boxes: own }]
  })
  return { ...output, phrases }
}
