// Where a run's checks meet its labels: which answers are worth another try, and what becomes of records that a check
// turns down. It does not know how a check judges.
import { applyChecks, looksAt } from '../../dataset/checks/apply.ts'
import type { SecondAnswers } from '../../dataset/checks/check.ts'
import { findCheck } from '../../dataset/checks/registry.ts'
import { TextMemory } from '../../dataset/checks/text-memory.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import { entitiesIn } from '../tasks/entities.ts'
import { judgeAnswers, type RecordUnit, type UnitAnswers } from './record.ts'

/** What the checks of one run remember of its images, for as long as this process labels for it. */
export type RunTexts = TextMemory

export function openRunTexts(): RunTexts {
  return new TextMemory()
}

/** The records of one image with what the run's checks found. */
export function gateRecords(
  records: readonly LabelRecord[],
  { checks = [] }: RunConfig,
  { texts, twice }: { texts: RunTexts; twice?: ReadonlyMap<string, SecondAnswers> },
): LabelRecord[] {
  if (checks.length === 0) return [...records]
  const context = { texts, thingsIn: entitiesIn, ...(twice === undefined ? {} : { twice }) }
  return applyChecks(records, checks, context)
}

/** Whether the answers about an image are asked for a second time, each prompt by itself. */
export function asksAlone({ checks = [] }: RunConfig, sha256: string | null): boolean {
  return checks.some((setting) => findCheck(setting.name).asksAlone === true && looksAt(setting, sha256))
}

/** Whether a task's questions about the image are asked again without it. */
export function asksBlind({ checks = [] }: RunConfig, sha256: string | null): (task: string) => boolean {
  const asked = checks.flatMap((setting) => {
    const { asksBlind: byDefault } = findCheck(setting.name)
    return byDefault === undefined || !looksAt(setting, sha256) ? [] : (setting.tasks ?? byDefault)
  })
  return (task) => asked.includes(task)
}

/** Whether an answer is one that a check of the run would have drawn again. */
export function asksAgain(config: RunConfig): (unit: RecordUnit, answered: UnitAnswers) => boolean {
  const resampling = (config.checks ?? [])
    .map(({ name }) => findCheck(name))
    .filter(({ resamples }) => resamples)
  if (resampling.length === 0) return () => false
  // These look at the answer alone: there are no siblings yet, and nothing shall be remembered of what is not kept.
  const context = { siblings: [], texts: new TextMemory(1), thingsIn: entitiesIn }
  return ({ spec }, answered) => {
    const { output } = judgeAnswers(spec, answered)
    if (output === null || !answered.ok) return false
    const raw = answered.answers.map(({ text }) => text).join('\n')
    const source = { uri: '', key: '', sha256: null, bytes: null, mime: null }
    const label = { task: spec.task, raw, output, finishReason: null, source }
    return resampling.some((check) => check.judge(label, context)?.pass === false)
  }
}
