// Boxes of named things over a whole set: F1 at an overlap of 0.5, and average precision as COCO counts it. It does not
// know where the boxes come from.
import type { Box } from '../../schemas/task-output.ts'
import { areaOf, intersectionOverUnion } from '../box-overlap.ts'
import { matchingIoU } from './box-accuracy.ts'
import { mean, share } from './share.ts'

export type SaidBox = {
  image: string
  name: string
  box: Box
  /** Higher first. Models that say boxes in text give none: then all are equal, and F1 says more. */
  score: number
}

export type GoldBox = { image: string; name: string; box: Box; isCrowd?: boolean }

export type DetectionScore = {
  precision: number
  recall: number
  f1: number
  /** Mean over names and overlaps of 0.5 to 0.95, as COCO's first figure; null without gold boxes. */
  averagePrecision: number | null
  averagePrecisionAt50: number | null
  said: number
  gold: number
}

/** 0.5 to 0.95 and 0 to 1, to the last bit as numpy's linspace makes them in COCO's evaluation. */
const overlaps = [...Array.from({ length: 9 }, (_, index) => 0.5 + index * ((0.95 - 0.5) / 9)), 0.95]
const recallPoints = Array.from({ length: 101 }, (_, index) => index * 0.01)
/** Of one name in one image, COCO looks at the hundred of the highest score. */
const maxBoxes = 100

export function scoreDetection(said: readonly SaidBox[], gold: readonly GoldBox[]): DetectionScore {
  const counted = gold.filter(({ isCrowd }) => isCrowd !== true)
  const matches = matchAll(said, gold, matchingIoU)
  const right = matches.filter(({ outcome }) => outcome === 'right').length
  const judged = matches.filter(({ outcome }) => outcome !== 'ignored').length
  const [precision, recall] = [share(right, judged), share(right, counted.length)]
  const names = [...new Set(counted.map(({ name }) => name))]
  const ofName = names.map((name) => ({
    said: said.filter((box) => box.name === name),
    gold: gold.filter((box) => box.name === name),
  }))
  const meanAt = (at: readonly number[]) =>
    names.length === 0
      ? null
      : mean(ofName.flatMap((own) => at.map((overlap) => averagePrecision(own.said, own.gold, overlap))))
  return {
    precision,
    recall,
    f1: share(2 * precision * recall, precision + recall),
    averagePrecision: meanAt(overlaps),
    averagePrecisionAt50: meanAt([0.5]),
    said: judged,
    gold: counted.length,
  }
}

type Match = { score: number; outcome: 'right' | 'wrong' | 'ignored' }

/**
 * In each image and for each name, boxes in order of their score take the free true box they overlap most, of equals
 * the last. One that lies in a crowd (by its own area) is neither right nor wrong.
 */
function matchAll(said: readonly SaidBox[], gold: readonly GoldBox[], overlap: number): Match[] {
  const place = ({ image, name }: { image: string; name: string }) => JSON.stringify([image, name])
  const goldBy = Map.groupBy(gold, place)
  return [...Map.groupBy(said, place)].flatMap(([key, own]) => {
    const there = goldBy.get(key) ?? []
    const taken = new Set<GoldBox>()
    const ranked = own.toSorted((a, b) => b.score - a.score).slice(0, maxBoxes)
    return ranked.map(({ box, score }): Match => {
      const free = there
        .filter((other) => other.isCrowd !== true && !taken.has(other))
        .map((other) => ({ other, iou: intersectionOverUnion(box, other.box) }))
        .filter(({ iou }) => iou >= overlap)
        .toSorted((a, b) => a.iou - b.iou)
        .at(-1)
      if (free !== undefined) {
        taken.add(free.other)
        return { score, outcome: 'right' }
      }
      const isInCrowd = there.some(
        (other) => other.isCrowd === true && shareInside(box, other.box) >= overlap,
      )
      return { score, outcome: isInCrowd ? 'ignored' : 'wrong' }
    })
  })
}

/** Area under the curve of precision, made falling, read at 101 recalls. */
function averagePrecision(said: readonly SaidBox[], gold: readonly GoldBox[], overlap: number): number {
  const total = gold.filter(({ isCrowd }) => isCrowd !== true).length
  const ranked = matchAll(said, gold, overlap)
    .filter(({ outcome }) => outcome !== 'ignored')
    .toSorted((a, b) => b.score - a.score)
  let right = 0
  const curve = ranked.map(({ outcome }, index) => {
    if (outcome === 'right') right += 1
    return { recall: right / total, precision: right / (index + 1) }
  })
  for (let at = curve.length - 2; at >= 0; at -= 1) {
    const [here, next] = [curve[at], curve[at + 1]]
    if (here !== undefined && next !== undefined) here.precision = Math.max(here.precision, next.precision)
  }
  return mean(recallPoints.map((recall) => curve.find((point) => point.recall >= recall)?.precision ?? 0))
}

function shareInside(box: Box, other: Box): number {
  const width = Math.max(0, Math.min(box[2], other[2]) - Math.max(box[0], other[0]))
  const height = Math.max(0, Math.min(box[3], other[3]) - Math.max(box[1], other[1]))
  return share(width * height, areaOf(box))
}
