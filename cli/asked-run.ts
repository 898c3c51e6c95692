// What a run asks of its images, from the flags and what its models can do. It does not know where images or labels are.
import { defaultChecks, findCheck, tasksNeeded } from '../dataset/checks/registry.ts'
import type { WantedRun } from '../dataset/run-folder.ts'
import {
  type Follow,
  listItemTasks,
  planTasks,
  type Wanted,
  withSamples,
} from '../gpu-worker/tasks/registry.ts'
import type { CheckSetting } from '../schemas/check-setting.ts'
import type { ItemAsk } from '../schemas/run-config.ts'
import type { TaskSpec } from '../schemas/task-spec.ts'
import type { AskFlags } from './ask-flags.ts'

type Asking = Pick<Wanted, 'model' | 'grounding' | 'brings'> & {
  /** Of a run that is there already and shall go on as it is. */
  standing?: Pick<WantedRun, 'checks'> | null
}

/** The tasks, checks and sampling of the run. Throws UserError for what the flags ask and the model cannot do. */
export function askedRun(
  flags: AskFlags,
  { model, grounding, brings, standing = null }: Asking,
): Pick<WantedRun, 'tasks' | 'itemTasks' | 'itemAsk' | 'checks' | 'sampling'> {
  const { taskNames: names, questions, phrases, objects, regions, probing, styles, sampling } = flags
  const { definitions } = flags
  const checks =
    flags.checks === undefined && standing !== null
      ? standing.checks
      : withOwnChecks(flags.checks ?? defaultChecks, definitions)
  const wanted: Wanted = {
    names,
    questions,
    phrases,
    objects,
    regions,
    probing,
    constrain: flags.constrain,
    shortAnswers: flags.shortAnswers,
    definitions,
    groundingPrefix: flags.groundingPrefix,
    ...(flags.existing === undefined ? {} : { existing: flags.existing }),
    ...(styles === undefined ? {} : { styles }),
    follows: followsOf(flags, checks),
    model,
    ...(grounding === undefined ? {} : { grounding }),
    ...(brings === undefined ? {} : { brings }),
  }
  const itemTasks = listItemTasks(wanted)
  const samples = samplesOf(flags, checks)
  return {
    tasks: planTasks(wanted).map((spec) => withSamples(spec, samples)),
    ...(itemTasks.length === 0 ? {} : { itemTasks, itemAsk: itemAskOf(flags, samples) }),
    ...(checks === undefined ? {} : { checks }),
    sampling,
  }
}

function followsOf({ from }: AskFlags, checks: WantedRun['checks']): Follow[] {
  const asked = from === undefined ? [] : [{ task: 'ground', after: from }]
  const needed = tasksNeeded(checks ?? []).map(({ task, after, check }) => ({
    task,
    after,
    why: `the check ${check}`,
  }))
  return [...asked, ...needed]
}

/** The gates that tasks of the user name for themselves. */
function withOwnChecks(
  checks: readonly CheckSetting[],
  definitions: AskFlags['definitions'],
): CheckSetting[] {
  const own = definitions.flatMap(({ name, checks: some = [] }) =>
    some.map((setting) => ({ ...setting, tasks: [name] })),
  )
  return [...checks, ...own]
}

/** Several answers to each prompt, when the user or a check wants them. */
function samplesOf(flags: AskFlags, checks: WantedRun['checks'] = []): TaskSpec['samples'] {
  const needed = Math.max(1, ...checks.map(({ name }) => findCheck(name).needsSamples ?? 1))
  const count = flags.samples?.count ?? needed
  return count === 1 ? undefined : { count, choice: flags.samples?.choice ?? 'medoid' }
}

/** What an image brings itself is asked as all else is. */
function itemAskOf(
  { groundingPrefix, shortAnswers, constrain }: AskFlags,
  samples: TaskSpec['samples'],
): ItemAsk {
  return {
    isConstrained: constrain,
    ...(groundingPrefix === undefined ? {} : { prefix: groundingPrefix }),
    ...(samples === undefined ? {} : { samples }),
    ...(shortAnswers ? { hasShortAnswers: true } : {}),
  }
}
