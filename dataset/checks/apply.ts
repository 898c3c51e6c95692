// The gates of a run over the labels of one image. It does not know how a gate judges, nor how labels are made.
import type { CheckSetting } from '../../schemas/check-setting.ts'
import type { LabelRecord, RecordCheck } from '../../schemas/label-record.ts'
import type { CheckContext, Judged, SecondAnswers } from './check.ts'
import { findCheck } from './registry.ts'

/**
 * The same records with what the gates found; one that a filtering gate turns down is filtered. A failed record has no
 * label to judge.
 */
export function applyChecks(
  records: readonly LabelRecord[],
  settings: readonly CheckSetting[],
  context: Omit<CheckContext, 'siblings'> & { twice?: ReadonlyMap<string, SecondAnswers> },
): LabelRecord[] {
  const labels = records.filter(isJudged)
  return records.map((record) => {
    if (!isJudged(record)) return record
    const siblings = labels.filter((other) => other !== record)
    const found = settingsFor(record, settings).flatMap(
      (setting): { check: RecordCheck; isFiltering: boolean }[] => {
        const label = { ...record, ...context.twice?.get(record.recordId) }
        const finding = findCheck(setting.name).judge(label, { ...context, siblings })
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

/** One setting for each gate: what is said of this task, also of its share, comes before what is said of all. */
function settingsFor({ task, source }: LabelRecord, settings: readonly CheckSetting[]): CheckSetting[] {
  const own = settings.filter(({ tasks }) => tasks?.includes(task) === true)
  const named = new Set(own.map(({ name }) => name))
  const general = settings.filter(({ tasks, name }) => tasks === undefined && !named.has(name))
  return [...general, ...own].filter((setting) => looksAt(setting, source.sha256))
}

/** Whether a gate looks at an image of these bytes. The same images are looked at by every gate of one share. */
export function looksAt({ share }: CheckSetting, sha256: string | null): boolean {
  return share === undefined || sha256 === null || Number.parseInt(sha256.slice(0, 8), 16) < share * 2 ** 32
}

function isJudged(record: LabelRecord): record is LabelRecord & Judged {
  return record.output !== null && record.status === 'ok'
}
