// `coglabel submit --dedupe exact` over folders and through the real SDK: every event three times, one worker killed at
// its images, and of equal bytes one image is labelled.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { runPullLabels } from '../../cli/pull-labels.ts'
import { runSeal } from '../../cli/seal.ts'
import { runStatus } from '../../cli/status.ts'
import { runSubmit } from '../../cli/submit.ts'
import { writeWorkMessages } from '../../dataset/events.ts'
import { uploadPrefix } from '../../dataset/plan-sources.ts'
import { seenImagesPrefix } from '../../schemas/seen-image.ts'
import { numberedPng } from '../helpers/images.ts'
import { testPlaces } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { readLabels, runTestWorker, runVerb, writeCountingModel } from '../helpers/verbs.ts'

const childPath = new URL('../helpers/worker-child.ts', import.meta.url).pathname
const [kinds, copies] = [6, 3]

describe.each(testPlaces)('over %s', (_name, open) => {
  test('of equal bytes one image is labelled, whatever comes again and whoever dies', async () => {
    const world = await open()
    const folder = await tempFolder()
    const keys: string[] = []
    for (let copy = 0; copy < copies; copy += 1) {
      await mkdir(join(folder, `copy${copy}`))
      for (let kind = 0; kind < kinds; kind += 1) {
        const key = `copy${copy}/${kind}.png`
        await writeFile(join(folder, key), numberedPng(kind))
        keys.push(key)
      }
    }
    const { folder: model } = await writeCountingModel()
    const asked = ['--model', model, '--tasks', 'caption', '--dedupe', 'exact', '--run', 'copies']
    expect((await runVerb(runSubmit, [folder, ...asked, ...world.flags])).code).toBe(0)
    const { place } = world
    const images = keys.map((key) => ({ bucket: place.uploadBucket, key: `${uploadPrefix('copies')}${key}` }))
    for (let times = 0; times < 2; times += 1)
      for (const image of images) await place.queue.send(writeWorkMessages([image], { runId: 'copies' }))

    await killWhileLabelling(world)
    const worker = await runTestWorker(world, {
      COGLABEL_IDLE_EXIT_SECONDS: '4',
      COGLABEL_LEASE_SECONDS: '2',
    })
    expect(worker.code).toBe(0)
    expect((await runVerb(runSeal, ['copies', ...world.flags])).code).toBe(0)
    const out = await tempFolder()
    expect((await runVerb(runPullLabels, ['copies', '--out', out, ...world.flags])).code).toBe(0)

    const labels = await readLabels(out)
    expect(labels).toHaveLength(keys.length)
    const stands = new Map(
      labels.filter(({ status }) => status === 'ok').map(({ source }) => [source.sha256, source.key]),
    )
    expect(stands.size).toBe(kinds)
    for (const { status, source, duplicateOf } of labels.filter((record) => record.status !== 'ok'))
      expect([status, duplicateOf]).toEqual(['filtered', stands.get(source.sha256)])
    const { code, out: status } = await runVerb(runStatus, ['copies', ...world.flags])
    expect([code, status]).toEqual([0, expect.stringMatching(/12 filtered|filtered +12/)])
  })
})

/** A worker process that is at its first images, and gone before it has written a record. */
async function killWhileLabelling({
  place,
  workerEnvironment,
}: Awaited<ReturnType<(typeof testPlaces)[0][1]>>) {
  const child = spawn(process.execPath, [childPath, '60000'], {
    env: {
      ...process.env,
      ...workerEnvironment,
      COGLABEL_MODEL: 'counting',
      COGLABEL_MODE: 'service',
      COGLABEL_LEASE_SECONDS: '2',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const exit = once(child, 'exit')
  const seen = async () =>
    (await place.runStoreOf('copies').list({ prefix: seenImagesPrefix })).objects.length
  for (let tries = 0; (await seen()) === 0; tries += 1) {
    if (tries > 300) throw new Error('the worker came to no image within 30 seconds')
    await sleep(100)
  }
  child.kill('SIGKILL')
  await exit
  const parts = await place.runStoreOf('copies').list({ prefix: 'parts/' })
  expect(parts.objects).toEqual([])
}

test('looks are not compared between workers, and submit says so before anything is written', async () => {
  const asked = ['--tasks', 'caption', '--place', await tempFolder(), '--dedupe', 'near']
  await expect(runVerb(runSubmit, [await tempFolder(), ...asked])).rejects.toThrow(
    /--dedupe is near; workers of a place find equal bytes only/,
  )
})
