// `coglabel pause`, `resume` and `cancel` over a folder and over an emulated cloud.
import { describe, expect, test } from 'vitest'
import { controlUsage } from '../../cli/control.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { readControl } from '../../dataset/run-control.ts'
import { RunAction } from '../../schemas/run-control.ts'
import { testPlaces } from '../helpers/places.ts'
import { someRun } from '../helpers/records.ts'
import { controls, runVerb } from '../helpers/verbs.ts'

describe.each(testPlaces)('%s', (_name, open) => {
  test('switches a run and says how it stood', async () => {
    const { place, flags } = await open()
    const store = place.runStoreOf('photos-2026')
    await openRun(store, { wanted: someRun, now: new Date(0), runId: 'photos-2026' })
    const say = async (action: RunAction) => {
      const { code, out } = await runVerb(controls(action), ['photos-2026', ...flags])
      return [code, out]
    }
    expect([await say('pause'), await say('pause'), await say('resume'), await say('cancel')]).toEqual([
      [0, 'photos-2026 is paused, it was running'],
      [0, 'photos-2026 is paused already'],
      [0, 'photos-2026 is running, it was paused'],
      [0, 'photos-2026 is cancelled, it was running'],
    ])
    expect((await readControl(store)).state).toBe('cancelled')
    await expect(say('resume')).rejects.toThrow(/is cancelled, which is for good/)
  })
})

test.each([
  [[], /takes one RUN, and was given 0/],
  [['a', 'b'], /takes one RUN, and was given 2/],
  [['../../etc', '--place', '/nowhere'], /is no name of a run/],
  [['a', '--health', 'off'], /--health is of coglabel submit and resume/],
  [['run-none', '--place', '/nowhere'], /there is no run run-none/],
])('says in a sentence what is wrong with %j', async (args, sentence) => {
  await expect(runVerb(controls('pause'), args)).rejects.toThrow(sentence)
})

test('has a usage text for each', () => {
  for (const action of RunAction.options) expect(controlUsage(action)).toContain(`coglabel ${action} RUN`)
})
