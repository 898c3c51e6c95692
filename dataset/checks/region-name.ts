// region-name: the boxes of a caption against what the model says is there when it is shown each box. It finds twice as
// many wrong boxes as asking for the phrase again, since it asks the other way round (LOG.md).
// Example: "a dog" boxed, and "A cat." at that box: does not pass.
import { type Check, type CheckContext, type Judged, toScore } from './check.ts'
import { intersectionOverUnion } from '../box-overlap.ts'
import { quote } from './said.ts'

/** Boxes are written in thousandths on the way, so that one comes back a little moved. */
const sameBox = 0.9

export const regionName: Check = {
  name: 'region-name',
  summary: 'boxes at which the model names something else when asked what is there; costs one prompt a box',
  isDefault: false,
  // Another word for the same thing is no fault of the box.
  action: 'note',
  needs: { task: 'describe-region', after: 'grounded-caption' },
  judge(label, context) {
    const { output } = label
    if (!('phrases' in output)) return null
    const regions = describedRegions(label, context)
    const seen = output.phrases.flatMap(({ text, boxes }) =>
      boxes.flatMap((box) => {
        const found = regions.find((region) => intersectionOverUnion(region.box, box) >= sameBox)
        return found === undefined ? [] : [{ text, said: found.text }]
      }),
    )
    if (seen.length === 0) return null
    const heads = (text: string) => context.thingsIn(text).map(({ head }) => head)
    const others = seen.filter(({ text, said }) => {
      const there = new Set(heads(said))
      return !heads(text).some((head) => there.has(head))
    })
    const score = toScore(1 - others.length / seen.length)
    const evidence = others.map(({ text, said }) => `${quote(text, 40)} is called ${quote(said, 40)}`)
    return { pass: others.length === 0, score, evidence: evidence.join('; ') }
  },
}

/** What was said of regions of the label beside it. */
function describedRegions({ task }: Judged, { siblings }: CheckContext) {
  const after = siblings.find(({ inputs, output }) => inputs?.[task] !== undefined && 'regions' in output)
  return after !== undefined && 'regions' in after.output ? after.output.regions : []
}
