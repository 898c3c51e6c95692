// The verbs over a whole cloud in small: folders, and S3 and SQS through the real SDK. Workers are the cloud's own.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runPullLabels } from '../../cli/pull-labels.ts'
import { runReconcile } from '../../cli/reconcile.ts'
import { runRedrive } from '../../cli/redrive.ts'
import { runSeal } from '../../cli/seal.ts'
import { runStatus } from '../../cli/status.ts'
import { runSubmit } from '../../cli/submit.ts'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { readQueueBody, writeWorkMessages } from '../../dataset/events.ts'
import { readRun } from '../../dataset/run-folder.ts'
import type { RunStatus } from '../../dataset/run-status.ts'
import { manifestFileName } from '../../schemas/model-manifest.ts'
import { piecesOf, weightsLockKey } from '../../schemas/weights-lock.ts'
import { numberedPng, writeImages } from '../helpers/images.ts'
import { openEmulatedTestPlace, testPlaces, type TestPlace } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { controls, readLabels, runTestWorker, runVerb, writeCountingModel } from '../helpers/verbs.ts'

/** Everything that waits in a queue, taken out of it. */
async function takeAll({ place }: TestPlace): Promise<string[]> {
  const bodies: string[] = []
  for (;;) {
    const messages = await place.queue.receive({ max: 10, waitMs: 0, leaseMs: 60_000 })
    if (messages.length === 0) return bodies
    bodies.push(...messages.map(({ body }) => body))
    await place.queue.ack(messages.map(({ lease }) => lease))
  }
}

async function submit(world: TestPlace, args: readonly string[]) {
  const model = await writeCountingModel()
  const submitted = await runVerb(runSubmit, [
    ...args,
    ...world.flags,
    '--model',
    model.folder,
    '--tasks',
    'caption,qa',
  ])
  return { ...submitted, runId: /^run (\S+)/.exec(submitted.out)?.[1] ?? '' }
}

async function lookAt(world: TestPlace, runId: string): Promise<{ code: number; status: RunStatus }> {
  const { code, out } = await runVerb(runStatus, [runId, '--json', '--worker-hour', '2', ...world.flags])
  return { code, status: JSON.parse(out) }
}

describe.each(testPlaces)('over %s', (_name, open) => {
  test('a folder is uploaded, labelled, sealed, watched and pulled', async () => {
    const world = await open()
    const folder = await tempFolder()
    const keys = await writeImages(folder, 60)
    await writeFile(join(folder, 'é b+.png'), numberedPng(999))
    await writeFile(join(folder, 'corrupt.png'), 'no image')
    await writeFile(join(folder, 'notes.txt'), 'no image at all')
    const { code, out, runId } = await submit(world, [folder])
    expect(code).toBe(0)
    expect(out).toMatch(/uploaded 62 images, 0 were there already\nasked for 62 images in 3 messages/)
    expect(out).toMatch(/workers that have no copy need coglabel push-model/)
    const before = await lookAt(world, runId)
    expect(before.code).toBe(4)
    expect(before.status).toMatchObject({
      expected: { images: 62, isComplete: true },
      committed: { records: 0 },
      queue: { visible: 3 },
      etaMs: null,
      spend: { usd: null },
    })
    const perImage = before.status.expected!.records / 62
    const again = await submit(world, [folder])
    expect(again.out).toMatch(/uploaded 0 images, 62 were there already/)
    expect((await lookAt(world, runId)).status.queue.visible).toBe(3)
    const worker = await runTestWorker(world)
    expect(worker).toMatchObject({ code: 0, images: 61 })
    const committed = await lookAt(world, runId)
    expect(committed.code).toBe(4)
    expect(committed.status).toMatchObject({
      committed: { records: 62 * perImage, isEstimate: false },
      sealed: { records: 0 },
      etaMs: 0,
    })
    expect(committed.status.recordsPerSecond).toBeGreaterThan(0)
    expect(committed.status.spend.usd).toBeCloseTo(committed.status.spend.workerHours! * 2)
    expect(committed.status.spend.assumes).toMatch(/one pass of .* ms for each image, .* 2 USD for an hour/)
    expect((await runVerb(runSeal, [runId, ...world.flags])).code).toBe(3)
    const { code: sealedCode, status } = await lookAt(world, runId)
    expect(sealedCode).toBe(3)
    expect(status.sealed).toMatchObject({ records: 62 * perImage, ok: 61 * perImage, failed: perImage })
    const to = join(await tempFolder(), 'copy')
    const pulled = await runVerb(runPullLabels, [runId, '--out', to, ...world.flags])
    expect(pulled.code).toBe(3)
    const labels = await readLabels(to)
    expect(labels).toHaveLength(62 * perImage)
    const names = new Set(labels.map(({ source }) => source.key))
    expect(names).toEqual(
      new Set([...keys, 'é b+.png', 'corrupt.png'].map((key) => `incoming/${runId}/${key}`)),
    )
    expect((await runVerb(runPullLabels, [runId, '--out', to, ...world.flags])).out).toMatch(/copied 0 files/)
    const reconciled = await runVerb(runReconcile, [runId, ...world.flags])
    expect(reconciled.out).toMatch(/all 62 images .* have their records/)
    const retried = await runVerb(runReconcile, [runId, '--failed', ...world.flags])
    expect(retried.out).toMatch(/asked for 1 of 62 images in 1 message/)
    expect(await lookAt(world, runId)).toMatchObject({
      code: 4,
      status: { askedAgain: { times: 1, images: 1, records: perImage }, etaMs: expect.not.closeTo(0) },
    })
    const shown = await runVerb(runStatus, [runId, '--once', ...world.flags])
    expect(shown.out).toMatch(/^again {6}\d records? still to come, asked for by coglabel reconcile$/m)
    await runTestWorker(world)
    await runVerb(runSeal, [runId, ...world.flags])
    // It has failed once more: that is what was asked for.
    expect(await lookAt(world, runId)).toMatchObject({
      code: 3,
      status: { askedAgain: { times: 1, images: 0, records: 0 }, sealed: { failed: perImage } },
    })
    await runVerb(controls('cancel'), [runId, ...world.flags])
    await expect(runVerb(runReconcile, [runId, ...world.flags])).rejects.toThrow('is cancelled, for good')
  })

  test('images that lie in a bucket stay where they are, and our own output there is never asked for', async () => {
    const world = await open()
    const bucket = world.place.imagesOf('others')
    for (const key of ['p/a.png', 'p/b.png', 'q/c.png', 'runs/run-x/thumbs/t.png', 'incoming/run-x/u.png'])
      await bucket.putIfAbsent(key, numberedPng(key.length))
    const part = await submit(world, ['s3://others/p'])
    expect(part.out).toMatch(/asked for 2 images in 1 message/)
    const whole = await submit(world, ['s3://others'])
    expect(whole.runId).not.toBe(part.runId)
    expect(whole.out).toMatch(/asked for 3 images .*\nleft out: 1 uploaded for a run, 1 our own output/)
    const bodies = (await takeAll(world)).map((body) => readQueueBody(body))
    const keys = bodies.flatMap((event) => (event.kind === 'work' ? event.items.map(({ key }) => key) : []))
    expect(keys.toSorted()).toEqual(['p/a.png', 'p/a.png', 'p/b.png', 'p/b.png', 'q/c.png'])
    expect((await world.place.imagesOf('images').list({ prefix: '' })).objects).toEqual([])
  })

  test('a cost cap that nobody counts against is refused, and captions that would stay behind', async () => {
    const world = await open()
    const folder = await tempFolder()
    await writeImages(folder, 1)
    await expect(submit(world, [folder, '--cost-cap', '5'])).rejects.toThrow(
      /^--cost-cap 5 cannot be kept: .* set workerHourUsd/,
    )
    await expect(submit(world, [folder, '--existing', 'keep'])).rejects.toThrow(
      /^--existing keep asks for captions beside the images, which are not uploaded/,
    )
    expect((await submit(world, [folder, '--existing', 'overwrite'])).code).toBe(0)
  })

  test('messages that were lost are found by reconciling, and only those', async () => {
    const world = await open()
    for (let n = 0; n < 30; n += 1)
      await world.place.imagesOf('others').putIfAbsent(`p/${n}.png`, numberedPng(n))
    const { runId } = await submit(world, ['s3://others/p'])
    // A queue keeps no order: the message of five images is the one that gets lost.
    const bodies = (await takeAll(world)).toSorted((left, right) => right.length - left.length)
    expect(bodies).toHaveLength(2)
    await world.place.queue.send(bodies.slice(0, 1))
    await runTestWorker(world)
    const { out } = await runVerb(runReconcile, [runId, ...world.flags])
    expect(out).toMatch(/asked for 5 of 30 images in 1 message/)
    const second = await runTestWorker(world)
    expect(second.images).toBe(5)
    const done = await runVerb(runReconcile, [runId, ...world.flags])
    expect(done.out).toMatch(/all 30 images/)
    expect((await lookAt(world, runId)).code).toBe(0)
  })

  test('a standing run labels what arrives', async () => {
    const world = await open()
    const { out, runId } = await submit(world, ['--standing'])
    expect(out).toContain(`upload images to ${world.place.imagesOf('images').uri}incoming/${runId}/`)
    expect((await lookAt(world, runId)).status.expected).toBeNull()
    const key = `incoming/${runId}/a.png`
    await world.place.imagesOf('images').putIfAbsent(key, numberedPng(1))
    // No event came; reconciling finds it all the same.
    expect((await runVerb(runReconcile, [runId, ...world.flags])).out).toMatch(/asked for 1 of 1 image /)
    await runTestWorker(world)
    expect((await runVerb(runSeal, [runId, ...world.flags])).code).toBe(0)
    expect((await lookAt(world, runId)).status.sealed.ok).toBeGreaterThan(0)
  })

  test('dead letters are told by what is wrong with them, and those that may work go back', async () => {
    const world = await open()
    await world.place.imagesOf('others').putIfAbsent('p/a.png', numberedPng(1))
    const { runId } = await submit(world, ['s3://others/p'])
    const good = await takeAll(world)
    const image = { bucket: 'others', key: 'p/a.png' }
    const about = (run: string, more: object = {}) =>
      writeWorkMessages([{ ...image, ...more }], { runId: run })
    await world.place.deadLetters.send([
      ...good,
      'no message at all',
      ...about('run-later'),
      ...about(runId, { bucket: 'secrets' }).map((body) => (world.emulator === null ? 'x' : body)),
      ...writeWorkMessages([image], { runId, tasks: ['ground'] }),
    ])
    const others =
      world.emulator === null ? { 'unknown-message': 2 } : { 'unknown-message': 1, 'bad-bucket': 1 }
    const dry = await runVerb(runRedrive, ['--class', 'none', ...world.flags])
    const lines = (text: string) =>
      Object.fromEntries(
        [...text.matchAll(/^(\S+) +(\d+) found, (\d+) sent/gm)].map(([, name, found, sent]) => [
          name,
          `${found}/${sent}`,
        ]),
      )
    const expected = Object.fromEntries(
      Object.entries({ 'try-again': 1, 'no-run': 1, 'unknown-task': 1, ...others }).map(([name, count]) => [
        name,
        `${count}/0`,
      ]),
    )
    expect(lines(dry.out)).toEqual(expected)
    expect(dry.code).toBe(3)
    const { code, out } = await runVerb(runRedrive, [runId, ...world.flags])
    expect(code).toBe(3)
    expect(lines(out)['try-again']).toBe('1/1')
    expect((await runTestWorker(world)).images).toBe(1)
    expect((await world.place.deadLetters.stats()).visible).toBe(4)
    const third = await submit(world, ['s3://others/p', '--run', 'run-later'])
    expect(third.code).toBe(0)
    await takeAll(world)
    expect(lines((await runVerb(runRedrive, world.flags)).out)['try-again']).toBe('1/1')
    expect(await takeAll(world)).toEqual(about('run-later'))
  })

  test('a pushed model is found by its digest', async () => {
    const world = await open()
    await world.place.imagesOf('others').putIfAbsent('p/a.png', numberedPng(1))
    const { text, digest } = await writeCountingModel()
    const args = ['s3://others/p', '--model', digest, ...world.flags]
    await expect(runVerb(runSubmit, args)).rejects.toThrow(/no model c0c0.* was pushed/)
    const file = { name: manifestFileName, bytes: text.length, sha256: sha256Hex(text) }
    const [piece, rest] = piecesOf(file, 600)
    await world.place.weights.putIfAbsent(`${digest}/${piece!.key}`, Buffer.from(text.slice(0, 600)))
    await world.place.weights.putIfAbsent(`${digest}/${rest!.key}`, Buffer.from(text.slice(600)))
    const lock = { v: 1, digest, name: 'counting', pieceBytes: 600, files: [file] }
    await world.place.weights.putIfAbsent(`${digest}/${weightsLockKey}`, Buffer.from(JSON.stringify(lock)))
    const { code, out } = await runVerb(runSubmit, args)
    expect(code).toBe(0)
    expect(out).not.toContain('push-model')
  })
})

test('a cost cap is kept where the deployment says what a worker costs', async () => {
  const world = await openEmulatedTestPlace({ workerHourUsd: 2 })
  const folder = await tempFolder()
  await writeImages(folder, 1)
  const { code, runId } = await submit(world, [folder, '--cost-cap', '5'])
  expect(code).toBe(0)
  expect(await readRun(world.place.runStoreOf(runId))).toMatchObject({ costCapUsd: 5 })
})
