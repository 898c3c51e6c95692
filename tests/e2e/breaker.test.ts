// A run of a place whose model goes bad: its sealer pauses it, workers give its messages back, `status` says why with
// exit code 5, and `resume` goes on.
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runSeal } from '../../cli/seal.ts'
import { runStatus } from '../../cli/status.ts'
import { runSubmit } from '../../cli/submit.ts'
import { guardRun, tallyLines } from '../../dataset/checks/run-health.ts'
import { sealRuns } from '../../dataset/each-run.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { writeImages } from '../helpers/images.ts'
import { testPlaces } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { controls, runTestWorker, runVerb, writeCountingModel } from '../helpers/verbs.ts'

const refusal = 'I am sorry, but I cannot help with that request.'

test.each(testPlaces)('at %s', async (_what, openTestPlace) => {
  const open = await openTestPlace()
  const { place, flags } = open
  const { folder: model } = await writeCountingModel()
  const src = join(await tempFolder(), 'in')
  await writeImages(src, 24)
  const asked = ['--run', 'r1', '--tasks', 'caption', '--model', model, '--health', 'window=20,refusals=0.1']
  expect(await runVerb(runSubmit, [src, ...flags, ...asked])).toMatchObject({ code: 0 })

  // As a server that censors: every other answer is a refusal.
  let turn = 0
  const engine = openCountingEngine({ answer: () => (turn++ % 2 === 0 ? refusal : undefined) })
  expect(await runTestWorker(open, { engine })).toMatchObject({ code: 0 })
  const sealer = {
    place,
    clock: () => new Date(),
    stop: new AbortController().signal,
    tally: tallyLines,
    guard: guardRun,
  }
  const paused = expect.stringMatching(/^refusals \d\d\.\d % over the last 24 records; the limit is 10\.0 %$/)
  expect(await sealRuns(sealer)).toEqual({ r1: { generations: 1, paused } })

  // What comes now waits: the first 24 are done, and twelve more are asked for.
  await writeImages(join(src, 'more'), 12)
  const more = await runVerb(runSubmit, [join(src, 'more'), ...flags, ...asked.toSpliced(1, 1, 'r2')])
  expect(more).toMatchObject({ code: 0 })
  await runVerb(controls('pause'), ['r2', ...flags])
  const waiting = await runTestWorker(open)
  expect(waiting).toMatchObject({ code: 0, images: 0 })
  expect(waiting.lines.join('\n')).toContain('"reason":"paused"')

  const status = await runVerb(runStatus, ['r2', '--once', ...flags])
  expect(status).toMatchObject({
    code: 4,
    out: expect.stringMatching(/^paused {5}since .*; coglabel resume r2/m),
  })
  const json = await runVerb(runStatus, ['r1', '--json', ...flags])
  expect(JSON.parse(json.out)).toMatchObject({
    control: { state: 'paused', cause: 'health', reason: paused },
    health: { records: 24, rates: { refusals: expect.any(Number) } },
  })
  const resumed = await runVerb(controls('resume'), ['r1', '--health', 'off', ...flags])
  expect(resumed).toMatchObject({ code: 0, out: 'r1 is running, it was paused' })
  expect(await runVerb(runSeal, ['r1', ...flags])).toMatchObject({ code: 0 })
})

test('status of a run that is paused for what its checks found says so, and ends with 5', async () => {
  const open = await testPlaces[0][1]()
  const { flags } = open
  const { folder: model } = await writeCountingModel()
  const src = join(await tempFolder(), 'in')
  await writeImages(src, 60)
  const args = [src, ...flags, '--run', 'r1', '--tasks', 'caption', '--model', model]
  await runVerb(runSubmit, [...args, '--health', 'window=10,refusals=0.1'])
  // Two messages of 25 images and one of 10; the worker stops in the midst of them.
  const stopAfter = 30
  let answered = 0
  const stop = new AbortController()
  const engine = openCountingEngine({
    answer: () => {
      if ((answered += 1) === stopAfter) stop.abort()
      return refusal
    },
  })
  await runTestWorker(open, { engine, stop: stop.signal })
  const sealed = await runVerb(runSeal, ['r1', ...flags])
  expect(sealed).toMatchObject({
    code: 5,
    out: expect.stringMatching(/r1 is paused: refusals 100\.0 %.*coglabel resume/),
  })
  const status = await runVerb(runStatus, ['r1', '--once', ...flags])
  expect(status.code).toBe(5)
  expect(status.out).toMatch(
    /^paused {5}since 20.*: refusals 100\.0 % over the last \d+ records; .*resume r1/m,
  )
  expect(status.out).toMatch(/^health {5}refusals 100\.0 %/m)
  await runVerb(controls('resume'), ['r1', '--health', 'off', ...flags])
  expect((await runVerb(runStatus, ['r1', '--once', ...flags])).code).toBe(4)
  expect(await runTestWorker(open)).toMatchObject({ code: 0 })
  expect(await runVerb(runSeal, ['r1', ...flags])).toMatchObject({ code: 0 })
  expect((await runVerb(runStatus, ['r1', '--once', ...flags])).code).toBe(0)
})
