// `coglabel status` on a terminal and elsewhere: what stands there after each look, and when it only looks once.
import { expect, test } from 'vitest'
import { runStatus } from '../../cli/status.ts'
import { writePart } from '../../dataset/parts.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFolderTestPlace, type TestPlace } from '../helpers/places.ts'
import { someRecord, someRun } from '../helpers/records.ts'
import { controls, runVerb } from '../helpers/verbs.ts'

/** As much of a terminal as is used: lines, a cursor that goes up, and what is cleared below it. */
function screenOf(written: string): string[] {
  const lines: string[] = []
  let at = 0
  for (const [, up, clear, text] of written.matchAll(/\u001B\[(\d+)A|(\r\u001B\[J)|([^\u001B\r]+)/g)) {
    if (up !== undefined) at -= Number(up)
    else if (clear !== undefined) lines.length = at
    else
      for (const line of (text ?? '').split('\n').slice(0, -1)) {
        lines[at] = line
        at += 1
      }
  }
  return lines
}

async function openWithRun(): Promise<TestPlace> {
  const world = await openFolderTestPlace()
  await openRun(world.place.runStoreOf('r1'), { wanted: someRun, now: new Date(0), runId: 'r1' })
  return world
}

test('a line that has nothing to say any more is gone from the terminal', async () => {
  const { flags } = await openWithRun()
  await runVerb(controls('pause'), ['r1', ...flags])
  let [written, looks, interrupt] = ['', 0, () => {}]
  const { code } = await runVerb(runStatus, ['r1', ...flags], {
    printsToTerminal: true,
    progress: { isTerminal: true, columns: 60, write: (text) => (written += text) },
    onInterrupt: (call) => ((interrupt = call), () => {}),
    async sleep() {
      looks += 1
      if (looks === 1) {
        expect(screenOf(written)[1]).toMatch(/^paused +since/)
        await runVerb(controls('resume'), ['r1', ...flags])
      } else interrupt()
    },
  })
  expect([code, looks]).toEqual([4, 2])
  const names = screenOf(written).map((line) => line.slice(0, 10).trimEnd())
  expect(names).toEqual(['run', 'expected', 'committed', 'sealed', 'queue', 'speed', 'spend'])
  expect(Math.max(...screenOf(written).map((line) => line.length))).toBeLessThan(60)
})

test('stays no longer than a cancelled run has something to seal', async () => {
  const { place, flags } = await openWithRun()
  const store = place.runStoreOf('r1')
  await writePart(store, [someRecord({ key: 'a.png' })])
  await runVerb(controls('cancel'), ['r1', ...flags])
  let looks = 0
  const { code } = await runVerb(runStatus, ['r1', ...flags], {
    printsToTerminal: true,
    progress: { isTerminal: true, columns: 60, write: () => {} },
    async sleep() {
      looks += 1
      await sealRun({ store, runId: 'r1', clock: () => new Date(0) })
    },
  })
  expect([code, looks]).toEqual([4, 1])
})

test.each([
  [{ printsToTerminal: false }, []],
  [{ printsToTerminal: true }, ['--once']],
  [{ printsToTerminal: true }, ['--json']],
])('looks once and prints where nobody watches: %j %j', async (terminal, args) => {
  const { flags } = await openWithRun()
  const { code, out, told } = await runVerb(runStatus, ['r1', ...args, ...flags], {
    ...terminal,
    progress: { isTerminal: true, columns: 60, write: () => {} },
  })
  expect([code, told]).toEqual([4, ''])
  expect(out).toContain('r1')
})
