// box-sanity: boxes that cannot be right whatever the image shows. It does not look at the image.
// Example: [[000,000,999,999]] does not pass, nor do two boxes of one phrase that cover the same place.
import type { Box } from '../../schemas/task-output.ts'
import { areaOf, intersectionOverUnion } from '../box-overlap.ts'
import { boxesOf, type NamedBoxes } from './boxes-of.ts'
import type { Check } from './check.ts'
import { quote } from './said.ts'

/** Of the image: beyond, a box says nothing (data-juicer's phrase grounding filter drops such boxes). */
const maxArea = 0.95
/** One thousandth of the width by ten of the height: what a misread number leaves, not a thing. */
const minArea = 0.000_01
/** Boxes of one phrase, and of two, that lie on each other like this are one box said twice. */
const sameIoU = 0.9
const sameIoUOfTwo = 0.98

export const boxSanity: Check = {
  name: 'box-sanity',
  summary: 'boxes with swapped corners, without area, over the whole image, or said twice',
  isDefault: true,
  action: 'filter',
  judge({ output, repairs = [] }) {
    const named = boxesOf(output)
    if (named === null) return null
    const problems = [
      ...repairs.filter((repair) => /^(?:reordered|left out the box|left out a box|left out ")/.test(repair)),
      ...named.flatMap(({ name, boxes }) => boxes.flatMap((box) => oddSize(name, box))),
      ...named.flatMap(saidTwice),
      ...sharedByTwo(named),
    ]
    const count = named.reduce((sum, { boxes }) => sum + boxes.length, 0)
    if (count === 0 && problems.length === 0) return null
    return { pass: problems.length === 0, score: problems.length, evidence: problems.slice(0, 5).join('; ') }
  },
}

function oddSize(name: string, box: Box): string[] {
  const area = areaOf(box)
  if (area > maxArea) return [`the box of ${quote(name, 40)} covers ${Math.round(area * 100)} % of the image`]
  return area < minArea ? [`the box of ${quote(name, 40)} has hardly any area`] : []
}

function saidTwice({ name, boxes }: NamedBoxes): string[] {
  return pairsOf(boxes)
    .filter(([left, right]) => intersectionOverUnion(left, right) >= sameIoU)
    .map(() => `two boxes of ${quote(name, 40)} lie on each other`)
}

/** Different words may mean one thing, so only boxes that are equal to the last digits count. */
function sharedByTwo(named: readonly NamedBoxes[]): string[] {
  return pairsOf(named).flatMap(([left, right]) => {
    const isShared = left.boxes.some((box) =>
      right.boxes.some((other) => intersectionOverUnion(box, other) >= sameIoUOfTwo),
    )
    return isShared ? [`${quote(left.name, 40)} and ${quote(right.name, 40)} have one box`] : []
  })
}

function pairsOf<T>(list: readonly T[]): [T, T][] {
  return list.flatMap((left, index) => list.slice(index + 1).map((right): [T, T] => [left, right]))
}
