// Referring expressions (RefCOCO and its kin): one box for each expression. It does not know who drew it.
import type { Box } from '../../schemas/task-output.ts'
import { intersectionOverUnion } from '../box-overlap.ts'
import { matchingIoU } from './box-accuracy.ts'
import { share } from './share.ts'

export type Referred = { said: Box | null; gold: Box }

export type ReferringScore = {
  /** Share of expressions whose box overlaps the true one by 0.5 or more. */
  accuracy: number
  /** The same at other overlaps. */
  accuracyAt: Record<'0.1' | '0.3' | '0.7' | '0.9', number>
  meanIoU: number
  /** Share of boxes whose centre lies in the true one. */
  centreHits: number
  expressions: number
}

/** An expression without a box is wrong, with an overlap of 0. */
export function scoreReferring(referred: readonly Referred[]): ReferringScore {
  const overlaps = referred.map(({ said, gold }) => (said === null ? 0 : intersectionOverUnion(said, gold)))
  const shareAt = (least: number) => share(overlaps.filter((iou) => iou >= least).length, overlaps.length)
  return {
    accuracy: shareAt(matchingIoU),
    accuracyAt: { '0.1': shareAt(0.1), '0.3': shareAt(0.3), '0.7': shareAt(0.7), '0.9': shareAt(0.9) },
    meanIoU: share(
      overlaps.reduce((sum, iou) => sum + iou, 0),
      overlaps.length,
    ),
    centreHits: share(
      referred.filter(({ said, gold }) => said !== null && holdsCentre(gold, said)).length,
      referred.length,
    ),
    expressions: referred.length,
  }
}

function holdsCentre([x0, y0, x1, y1]: Box, said: Box): boolean {
  const [x, y] = [(said[0] + said[2]) / 2, (said[1] + said[3]) / 2]
  return x0 <= x && x <= x1 && y0 <= y && y <= y1
}
