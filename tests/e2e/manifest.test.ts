// A manifest whose images bring questions, phrases and meta of their own: over folders, and through the real SDK, with
// the same outcome as `coglabel label` has for it.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runLabel } from '../../cli/label.ts'
import { runPullLabels } from '../../cli/pull-labels.ts'
import { runReconcile } from '../../cli/reconcile.ts'
import { runSeal } from '../../cli/seal.ts'
import { runStatus } from '../../cli/status.ts'
import { runSubmit } from '../../cli/submit.ts'
import type { RunStatus } from '../../dataset/run-status.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng, writeImages } from '../helpers/images.ts'
import { testPlaces, type TestPlace } from '../helpers/places.ts'
import { openLabelRoot } from '../helpers/label-root.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runTestWorker, runVerb, writeCountingModel, readLabels } from '../helpers/verbs.ts'

const asked = ['--tasks', 'caption,qa', '--ground', 'the cow']

/** Lines about images that are named by `name`: some bring much, some nothing, one is not there. */
function makeLines(keys: readonly string[], name: 'image' | 'key'): string[] {
  return keys.map((key, n) =>
    JSON.stringify({
      [name]: key,
      ...(n % 4 === 1 ? { questions: [`Is it ${n}?`, 'Why? \uffff'] } : {}),
      ...(n % 4 === 2 ? { phrases: ['the dog', `thing ${n}`] } : {}),
      ...(n % 2 === 0 ? { id: n, split: n % 3 === 0 ? 'test' : 'train' } : {}),
    }),
  )
}

/** What does not depend on where the image lies: by the end of its key. */
function essence(records: readonly LabelRecord[]) {
  const keyOf = (key: string) => key.replace(/^listed-uploads\/[^/]+\//, '')
  return records
    .map(({ source, task, ordinal, specHash, status, output, meta = null, error, prompt }) => ({
      at: JSON.stringify([keyOf(source.key), task, ordinal]),
      image: source.sha256,
      specHash,
      status,
      output,
      meta,
      error: error?.code ?? null,
      prompt: prompt.text,
    }))
    .toSorted((left, right) => (left.at < right.at ? -1 : 1))
}

/** What the same manifest comes to on this machine. */
async function labelHere(path: string): Promise<{ runId: string; records: LabelRecord[] }> {
  const out = join(await tempFolder(), 'out')
  const engine = openCountingEngine()
  const { model } = engine.info
  // As the compiled model that is submitted calls its weights: they are part of a run's id.
  const asCompiled = { ...engine, info: { ...engine.info, model: { ...model, weights: 'fp32' } } }
  await runLabel([path, '--out', out, ...asked], openLabelRoot(asCompiled).root)
  const records = await readLabels(out)
  return { runId: records[0]!.runId, records }
}

async function submit(world: TestPlace, src: string) {
  const model = await writeCountingModel()
  const submitted = await runVerb(runSubmit, [src, ...asked, ...world.flags, '--model', model.folder])
  return { ...submitted, runId: /^run (\S+)/.exec(submitted.out)?.[1] ?? '' }
}

async function lookAt(world: TestPlace, runId: string): Promise<RunStatus> {
  return JSON.parse((await runVerb(runStatus, [runId, '--json', ...world.flags])).out)
}

async function pull(world: TestPlace, runId: string): Promise<LabelRecord[]> {
  const to = join(await tempFolder(), 'copy')
  await runVerb(runSeal, [runId, ...world.flags])
  await runVerb(runPullLabels, [runId, '--out', to, ...world.flags])
  return await readLabels(to)
}

describe.each(testPlaces)('over %s', (_name, open) => {
  test('a manifest of this machine comes to what label makes of it', async () => {
    const world = await open()
    const folder = await tempFolder()
    const keys = [...(await writeImages(folder, 40)), 'é b+.png', 'gone.png']
    await writeFile(join(folder, 'é b+.png'), numberedPng(999))
    const path = join(folder, 'list.jsonl')
    await writeFile(path, makeLines(keys, 'image').join('\n'))
    const here = await labelHere(path)
    const { code, out, runId } = await submit(world, path)
    expect(code).toBe(0)
    expect(out).toMatch(/uploaded 41 images, 0 .*\nleft out: 1 not found\nasked for 42 images in 2 messages/)
    expect(runId).toBe(here.runId)
    const { expected } = await lookAt(world, runId)
    expect(expected).toMatchObject({ images: 42, records: here.records.length, isComplete: true })
    // The same command asks for nothing twice.
    expect((await submit(world, path)).out).toMatch(/uploaded 0 images, 41 .*\n.*\nasked for 42 images/)
    expect((await lookAt(world, runId)).queue.visible).toBe(2)
    await runTestWorker(world)
    const records = await pull(world, runId)
    expect(essence(records)).toEqual(essence(here.records))
    expect(records.every(({ source }) => source.key.startsWith(`listed-uploads/${runId}/`))).toBe(true)
    const done = await runVerb(runReconcile, [runId, ...world.flags])
    expect(done.out).toMatch(/all 42 images .* have their records/)
    expect(await lookAt(world, runId)).toMatchObject({ sealed: { failed: 3 }, queue: { visible: 0 } })
    await writeFile(path, makeLines(keys.slice(1), 'image').join('\n'))
    await expect(submit(world, path)).rejects.toThrow(/is not what it was when its run was submitted/)
  })

  test('of a list in a bucket, what was lost is found and asked for whole', async () => {
    const world = await open()
    const bucket = world.place.imagesOf('others')
    const keys = Array.from({ length: 30 }, (_, n) => `p/${n}.png`)
    for (const [n, key] of keys.entries()) await bucket.putIfAbsent(key, numberedPng(n))
    await bucket.putIfAbsent('list.jsonl', Buffer.from(makeLines(keys, 'key').join('\n')))
    const { out, runId } = await submit(world, 's3://others/list.jsonl')
    expect(out).toMatch(/asked for 30 images in 2 messages/)
    const messages = await world.place.queue.receive({ max: 10, waitMs: 0, leaseMs: 60_000 })
    await world.place.queue.ack(messages.map(({ lease }) => lease))
    const bodies = messages.map(({ body }) => body).toSorted((left, right) => right.length - left.length)
    await world.place.queue.send(bodies.slice(0, 1))
    await runTestWorker(world)
    const { out: asksAgain } = await runVerb(runReconcile, [runId, ...world.flags])
    expect(asksAgain).toMatch(/asked for 5 of 30 images in 1 message/)
    await runTestWorker(world)
    const records = await pull(world, runId)
    // 7 images have two phrases of their own, where the others are asked for the cow.
    expect(records).toHaveLength(3 * 30 + 7)
    expect(new Set(records.map(({ source }) => source.key))).toEqual(new Set(keys))
    const own = records.filter(({ source }) => source.key === 'p/26.png')
    expect(own.map(({ task, prompt, meta }) => [task, prompt.text, meta])).toEqual(
      expect.arrayContaining([
        ['ground', 'Question: Where is thing 26? Give its box. Answer:', { id: 26, split: 'train' }],
      ]),
    )
    expect((await runVerb(runReconcile, [runId, ...world.flags])).out).toMatch(/all 30 images/)
    expect((await runVerb(runStatus, [runId, ...world.flags])).code).toBe(0)
  })

  test('a line that no message carries is refused by its number, before anything is there', async () => {
    const world = await open()
    const folder = await tempFolder()
    const keys = await writeImages(folder, 2)
    const lines = [...makeLines(keys, 'image'), JSON.stringify({ image: 'c.png', note: 'x'.repeat(30_000) })]
    const path = join(folder, 'list.jsonl')
    await writeFile(path, lines.join('\n'))
    await expect(submit(world, path)).rejects.toThrow(
      /^line 3 of .*list\.jsonl has 30\d\d\d bytes of .*20480/,
    )
    expect((await world.place.labels.list({ prefix: 'runs/' })).objects).toEqual([])
    expect((await world.place.imagesOf('images').list({ prefix: '' })).objects).toEqual([])
  })
})
