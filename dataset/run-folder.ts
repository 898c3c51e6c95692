// A run's own settings in its folder or prefix: created once, checked ever after. It does not know how labels are made.
import { UserError } from '../schemas/errors.ts'
import { RunConfig, runConfigKey, runConfigVersion } from '../schemas/run-config.ts'
import { upstreamOf } from '../schemas/task-spec.ts'
import { canonicalJson } from './canonical-json.ts'
import { runIdOf } from './identity.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type WantedRun = Omit<RunConfig, 'v' | 'runId' | 'createdAt'>

/** The id of a run that is given none: a caller knows where to put it before it is there. */
export function wantedRunId({
  claims: _claims,
  costCapUsd: _cap,
  health: _health,
  ...identity
}: WantedRun): string {
  return runIdOf(identity)
}

/**
 * The run of this store: begun with `wanted`, or, when it is there already, checked against it.
 * Throws UserError that names what differs. `runId` is for a run whose id is chosen.
 */
export async function openRun(
  store: ObjectStore,
  { wanted, now, runId = wantedRunId(wanted) }: { wanted: WantedRun; now: Date; runId?: string },
): Promise<RunConfig> {
  const config: RunConfig = RunConfig.parse({
    v: runConfigVersion,
    runId,
    ...wanted,
    createdAt: now.toISOString(),
  })
  const existing = (await readRun(store)) ?? null
  if (existing === null) {
    const created = await store.putIfAbsent(runConfigKey, Buffer.from(`${JSON.stringify(config, null, 2)}\n`))
    if (created === 'created') return config
  }
  const standing = existing ?? (await readRun(store)) ?? config
  const differences = describeDifferences(standing, config)
  if (differences.length === 0) return standing
  throw new UserError(
    `${store.uri} holds a run with other settings:\n${differences.map((line) => `  ${line}`).join('\n')}\n` +
      'a run keeps its settings, so that all its labels are made alike; repeat the first command to resume it, or give another folder to --out',
  )
}

/** The run's settings, or null where there is no run. */
export async function readRun(store: ObjectStore): Promise<RunConfig | null> {
  const bytes = await store.get(runConfigKey)
  if (bytes === null) return null
  try {
    return RunConfig.parse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  } catch (error) {
    throw new UserError(
      `${store.uri}${runConfigKey} is not a run this version can read; give another folder to --out`,
      { cause: error },
    )
  }
}

/** One line for each setting that differs: what stands, and what is asked for now. */
function describeDifferences(standing: RunConfig, asked: RunConfig): string[] {
  const lines: string[] = []
  const compare = (name: string, before: unknown, now: unknown) => {
    if (canonicalJson(before ?? null) !== canonicalJson(now ?? null))
      lines.push(`${name}: it has ${brief(before)}, now ${brief(now)}`)
  }
  compare('source', placeOf(standing.source), placeOf(asked.source))
  compare(
    'model',
    `${standing.model.name} ${standing.model.digest}`,
    `${asked.model.name} ${asked.model.digest}`,
  )
  compare('grounding model', standing.grounding?.digest, asked.grounding?.digest)
  compare('template', standing.template, asked.template)
  compare('grounding template', standing.groundingTemplate, asked.groundingTemplate)
  compare('tasks', taskNames(standing), taskNames(asked))
  compare('tasks with questions of the manifest', standing.itemTasks?.toSorted(), asked.itemTasks?.toSorted())
  compare('how those are asked', standing.itemAsk, asked.itemAsk)
  if (lines.every((line) => !line.startsWith('tasks'))) {
    const before = new Map(standing.tasks.map((spec) => [placeOfSpec(spec), spec]))
    for (const spec of asked.tasks) compareSpecs(compare, before.get(placeOfSpec(spec)), spec)
  }
  const names = ['temperature', 'topK', 'topP', 'repetitionPenalty', 'seed'] as const
  for (const name of names) compare(name, standing.sampling[name], asked.sampling[name])
  compare('images left out', standing.input, asked.input)
  compare('checks', inOrder(standing.checks), inOrder(asked.checks))
  compare('claims', standing.claims ?? 'off', asked.claims ?? 'off')
  compare('health', standing.health, asked.health)
  compare('cost cap', standing.costCapUsd, asked.costCapUsd)
  return lines
}

/** A prefix of a bucket is another source than uploads to it. */
function placeOf({ kind, uri }: RunConfig['source']): string {
  return kind === 'standing' ? `uploads to ${uri}` : uri
}

function compareSpecs(
  compare: (name: string, before: unknown, now: unknown) => void,
  before: RunConfig['tasks'][number] | undefined,
  now: RunConfig['tasks'][number],
): void {
  compare(`${now.task} version`, before?.taskVersion, now.taskVersion)
  compare(
    `${now.task} prompts`,
    before?.prompts.map((prompt) => prompt.question),
    now.prompts.map((prompt) => prompt.question),
  )
  compare(`${now.task} template`, before?.template, now.template)
  compare(`${now.task} prefix`, before?.prefix, now.prefix)
  compare(`${now.task} comes after`, before && upstreamOf(before), upstreamOf(now))
  compare(`${now.task} answer limit`, before?.maxNewTokens, now.maxNewTokens)
  compare(`${now.task} options`, before?.options, now.options)
  compare(`${now.task} form of answers`, before?.constraint, now.constraint)
  compare(`${now.task} samples`, before?.samples, now.samples)
  compare(`${now.task} role`, before?.role, now.role)
}

/** Sorted, as all that is compared here: which of them was named first changes no label. */
function taskNames(config: RunConfig): string[] {
  return config.tasks.map((spec) => spec.task).toSorted()
}

function placeOfSpec({ task, ordinal }: RunConfig['tasks'][number]): string {
  return `${task} ${ordinal}`
}

function inOrder(checks: RunConfig['checks']): RunConfig['checks'] {
  return checks?.toSorted((left, right) => (left.name < right.name ? -1 : 1))
}

function brief(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing')
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
