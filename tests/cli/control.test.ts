// `coglabel pause`, `resume` and `cancel` over a folder and over an emulated cloud.
import { describe, expect, test } from 'vitest'
import { controlUsage, runControl } from '../../cli/control.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { readControl } from '../../dataset/run-control.ts'
import { RunAction } from '../../schemas/run-control.ts'
import { testPlaces } from '../helpers/places.ts'
import { someRun } from '../helpers/records.ts'

describe.each(testPlaces)('%s', (_name, open) => {
  test('switches a run and says how it stood', async () => {
    const { place, flags } = await open()
    const store = place.runStoreOf('photos-2026')
    await openRun(store, { wanted: someRun, now: new Date(0), runId: 'photos-2026' })
    const lines: string[] = []
    const say = async (action: RunAction) =>
      await runControl(action, ['photos-2026', ...flags], (line) => lines.push(line))
    expect([await say('pause'), await say('pause'), await say('resume'), await say('cancel')]).toEqual([
      0, 0, 0, 0,
    ])
    expect(lines).toEqual([
      'photos-2026 is paused, it was running',
      'photos-2026 is paused already',
      'photos-2026 is running, it was paused',
      'photos-2026 is cancelled, it was running',
    ])
    expect((await readControl(store)).state).toBe('cancelled')
    await expect(say('resume')).rejects.toThrow(/is cancelled, which is for good/)
  })
})

test.each([
  [[], /takes one run, got 0/],
  [['a', 'b'], /takes one run, got 2/],
  [['../../etc'], /is no name of a run/],
  [['run-none', '--place', '/nowhere'], /there is no run run-none/],
])('says in a sentence what is wrong with %j', async (args, sentence) => {
  await expect(runControl('pause', args)).rejects.toThrow(sentence)
})

test('has a usage text for each', () => {
  for (const action of RunAction.options) expect(controlUsage(action)).toContain(`coglabel ${action} RUN`)
})
