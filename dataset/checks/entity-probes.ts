// entity-probes: each thing that a caption names, asked about with yes or no.
// Example: caption "A dog and a cat."; "Is there a cat?" is answered no: does not pass.
import { type Check, toScore } from './check.ts'
import { proseOf, quote } from './said.ts'

export const entityProbes: Check = {
  name: 'entity-probes',
  summary: 'captions of things that the model denies when asked; costs one prompt a thing',
  isDefault: false,
  action: 'filter',
  needs: { task: 'yes-no', after: 'caption' },
  judge({ output, task }, { siblings }) {
    if (proseOf(output) === null) return null
    const probed = siblings.find((other) => other.inputs?.[task] !== undefined && 'probes' in other.output)
    if (probed === undefined || !('probes' in probed.output)) return null
    // Those about things that the caption does not name are there to keep yes and no in balance.
    const named = probed.output.probes.filter(({ expected }) => expected === 'yes')
    if (named.length === 0) return null
    const denied = named.filter(({ answer }) => answer === 'no')
    const score = toScore(1 - denied.length / named.length)
    return {
      pass: denied.length === 0,
      score,
      evidence: denied.map(({ question }) => `${quote(question, 60)} no`).join('; '),
    }
  },
}
