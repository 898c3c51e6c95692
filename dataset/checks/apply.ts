// The gates of a run over the labels of one image. It does not know how a gate judges, nor how labels are made.
import type { CheckSetting } from '../../schemas/check-setting.ts'
import type { LabelRecord, RecordCheck } from '../../schemas/label-record.ts'
import type { CheckContext, Judged } from './check.ts'
import { findCheck } from './registry.ts'

/**
 * The same records with what the gates found; one that a filtering gate turns down is filtered. A failed record has no
 * label to judge.
 */
export function applyChecks(
  records: readonly LabelRecord[],
  settings: readonly CheckSetting[],
  context: Omit<CheckContext, 'siblings'>,
): LabelRecord[] {
  const labels = records.filter(isJudged)
  return records.map((record) => {
    if (!isJudged(record)) return record
    const siblings = labels.filter((other) => other !== record)
    const found = settingsFor(record.task, settings).flatMap(
      (setting): { check: RecordCheck; isFiltering: boolean }[] => {
        const finding = findCheck(setting.name).judge(record, { ...context, siblings })
        if (finding === null) return []
        return [{ check: { name: setting.name, ...finding }, isFiltering: setting.action === 'filter' }]
      },
    )
    const isFiltered = found.some(({ check, isFiltering }) => isFiltering && !check.pass)
    return {
      ...record,
      checks: [...record.checks, ...found.map(({ check }) => check)],
      status: isFiltered ? 'filtered' : record.status,
    }
  })
}

/** One setting for each gate: what is said of this task comes before what is said of all. */
function settingsFor(task: string, settings: readonly CheckSetting[]): CheckSetting[] {
  const own = settings.filter(({ tasks }) => tasks?.includes(task) === true)
  const named = new Set(own.map(({ name }) => name))
  return [...settings.filter(({ tasks, name }) => tasks === undefined && !named.has(name)), ...own]
}

function isJudged(record: LabelRecord): record is LabelRecord & Judged {
  return record.output !== null && record.status === 'ok'
}
