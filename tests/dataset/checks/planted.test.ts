// How well each gate tells planted faults from good labels; the table is what LOG.md quotes.
import { expect, test } from 'vitest'
import { checks, findCheck } from '../../../dataset/checks/registry.ts'
import { TextMemory } from '../../../dataset/checks/text-memory.ts'
import { cleanCaptions } from './clean-captions.ts'
import { type Case, contextOf, judgedOf, plantAll } from './planted.ts'

type Figures = {
  check: string
  precision: number
  recall: number
  faults: number
  good: number
  missed: Case[]
  wronged: Case[]
}

/** Below these a gate costs good labels or lets junk through. */
const bars: Readonly<Record<string, { precision: number; recall: number }>> = {
  'entity-probes': { precision: 0.9, recall: 0.95 },
}
const bar = { precision: 0.95, recall: 0.9 }

function measure(name: string, cases: readonly Case[]): Figures {
  const check = findCheck(name)
  const turnedDown = cases.filter(
    ({ label, siblings }) => check.judge(label, contextOf(siblings))?.pass === false,
  )
  const faults = cases.filter(({ isFault }) => isFault)
  const caught = turnedDown.filter(({ isFault }) => isFault)
  return {
    check: name,
    precision: turnedDown.length === 0 ? 0 : caught.length / turnedDown.length,
    recall: caught.length / faults.length,
    faults: faults.length,
    good: cases.length - faults.length,
    missed: faults.filter((one) => !turnedDown.includes(one)),
    wronged: turnedDown.filter(({ isFault }) => !isFault),
  }
}

/** Nearly one text about 30 images among 60 others; the first three of it cannot be known to be copies. */
function measureDuplicates(): Figures {
  const texts = new TextMemory()
  const copies = Array.from({ length: 30 }, (_, index) => ({
    text: `An error occurred while the caption was generated for image ${index}, so a default text is given here.`,
    isFault: index >= 3,
  }))
  const all = [...cleanCaptions.map((text) => ({ text, isFault: false })), ...copies]
  const judged = all.map(({ text, isFault }, index) => {
    const source = { uri: `file:///${index}`, key: String(index), sha256: null, bytes: null, mime: null }
    const label = judgedOf({ text }, { source })
    return {
      one: { label, siblings: [], isFault },
      pass: findCheck('near-duplicate').judge(label, contextOf([], texts))?.pass,
    }
  })
  const turnedDown = judged.filter(({ pass }) => pass === false)
  const caught = turnedDown.filter(({ one }) => one.isFault)
  const faults = judged.filter(({ one }) => one.isFault)
  return {
    check: 'near-duplicate',
    precision: caught.length / turnedDown.length,
    recall: caught.length / faults.length,
    faults: faults.length,
    good: judged.length - faults.length,
    missed: faults.filter(({ pass }) => pass !== false).map(({ one }) => one),
    wronged: turnedDown.filter(({ one }) => !one.isFault).map(({ one }) => one),
  }
}

const figures = [...plantAll().map(({ check, cases }) => measure(check, cases)), measureDuplicates()]

test('every gate is measured on planted faults', () => {
  expect(figures.map(({ check }) => check).toSorted()).toEqual(checks.map(({ name }) => name).toSorted())
  const percent = (share: number) => (share * 100).toFixed(0).padStart(4)
  const rows = figures.map(
    ({ check, precision, recall, faults, good }) =>
      `${check.padEnd(18)} precision ${percent(precision)}  recall ${percent(recall)}  of ${faults} faults among ${good} good`,
  )
  console.log(rows.join('\n'))
})

test.each(figures)(
  '$check finds what was planted and spares the rest',
  ({ check, precision, recall, missed, wronged }) => {
    const { precision: least, recall: leastFound } = bars[check] ?? bar
    const show = (cases: readonly Case[]) =>
      cases.slice(0, 3).map(({ label }) => JSON.stringify(label.output).slice(0, 160))
    expect({ precision, wronged: show(wronged) }).toSatisfy(({ precision: share }) => share >= least)
    expect({ recall, missed: show(missed) }).toSatisfy(({ recall: share }) => share >= leastFound)
  },
)
