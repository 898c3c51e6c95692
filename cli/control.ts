// `coglabel pause`, `resume` and `cancel`: switching a run on and off. It does not know how workers find out.
import { parseArgs } from 'node:util'
import { controlRun } from '../dataset/run-control.ts'
import { UserError } from '../schemas/errors.ts'
import type { RunAction } from '../schemas/run-control.ts'
import { healthOption, readHealthSetting } from './health-flag.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needOne, needRun, type VerbRoot } from './verb-root.ts'

const meaning: Readonly<Record<RunAction, string>> = {
  pause:
    'Workers label no further image of the run; its messages wait. A queue of AWS keeps them for 14 days: after a longer\npause, coglabel reconcile asks again for what is left.',
  resume: 'Workers go on with a paused run. What waited is taken up within the hour.',
  cancel:
    'Workers drop the messages of the run that are left, for good; labels that are made stay. Images under\nway are finished.',
}

/** The usage text of one of the three. */
export function controlUsage(action: RunAction): string {
  return `coglabel ${action} RUN --place URI

${meaning[action]} Workers look every half minute.

${
  action === 'resume'
    ? `  --health off|a=b,…     from now on, when what checks find in the records since now pauses it again (as it began);
                         as for coglabel submit
`
    : ''
}${placeUsage}

Exit code: 0 done, also when the run stood like that already, 1 fatal, 2 wrong usage${action === 'cancel' ? '' : ', or a cancelled run'}.`
}

/** Runs one of the three; returns the exit code. Throws UserError for what the user can mend. */
export async function runControl(
  action: RunAction,
  args: readonly string[],
  root: VerbRoot,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...placeOptions, ...healthOption },
  })
  if (values.health !== undefined && action !== 'resume')
    throw new UserError(`--health is of coglabel submit and resume; leave it out of ${action}`)
  const runId = needOne(positionals, { verb: action, name: 'RUN' })
  const health = readHealthSetting(values.health)
  const place = await openPlaceOf(values)
  try {
    await needRun(place, runId)
    const { before, after } = await controlRun(place.runStoreOf(runId), {
      action,
      now: root.clock(),
      ...(health === undefined ? {} : { health }),
    })
    root.print(before === after ? `${runId} is ${after} already` : `${runId} is ${after}, it was ${before}`)
    return 0
  } finally {
    place.close()
  }
}
