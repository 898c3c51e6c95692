// Reviewing under trouble: several people at once, a run that is still labelled, files that were cut off, folders that
// cannot be written to. What one person sees and does in a browser is in page.test.ts.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openReviewCache } from '../../cli/review-cache.ts'
import { openPictures } from '../../cli/review-pictures.ts'
import { writePart } from '../../dataset/parts.ts'
import { sealRun } from '../../dataset/seal.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { readVerdicts, writeVerdict } from '../../dataset/verdicts.ts'
import { createReviewApp } from '../../review/app.ts'
import { openReviewedRun, type ReviewedRun } from '../../review/reviewed-run.ts'
import { openRunIndex } from '../../review/run-index.ts'
import { serveNewest } from '../../review/serve-newest.ts'
import { thumbnailKey } from '../../schemas/thumbnail.ts'
import { verdictsPrefix } from '../../schemas/verdict.ts'
import { recordsOf } from '../helpers/export-run.ts'
import { makeReviewRun, reviewRecordId } from '../helpers/review-run.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

type World = Awaited<ReturnType<typeof makeReviewRun>>

async function reviewer({ store, run: folder }: World, clock = () => new Date()): Promise<ReviewedRun> {
  const run = await openReviewedRun({ store, against: null, cacheFolder: join(folder, '.review'), clock })
  onTestFinished(async () => await run.close())
  return run
}

async function verdictKeys(store: ObjectStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of listAll(store, { prefix: verdictsPrefix })) keys.push(key)
  return keys
}

describe('two reviewers', () => {
  it('keep every verdict when both judge everything at once, and both see the same of it after', async () => {
    const world = await makeReviewRun()
    const [ada, bob] = [await reviewer(world), await reviewer(world)]
    const ids = ada.index.images.flatMap(({ records }) => records.map(({ recordId }) => recordId))
    await Promise.all(
      ids.flatMap((recordId) => [
        ada.judge({ recordId, verdict: 'accept', who: 'ada' }),
        bob.judge({ recordId, verdict: 'reject', who: 'bob' }),
      ]),
    )
    expect(await verdictKeys(world.store)).toHaveLength(2 * ids.length)
    await Promise.all([ada.verdicts.refresh(), bob.verdicts.refresh()])
    expect(ada.verdicts.newest).toEqual(bob.verdicts.newest)
    const exported = await readVerdicts(world.store)
    expect([...exported.keys()].toSorted()).toEqual(ids.toSorted())
    for (const [recordId, verdict] of exported) expect(ada.verdicts.newest.get(recordId)).toEqual(verdict)
  })

  it('who judges last wins, though their clock is an hour behind', async () => {
    const world = await makeReviewRun()
    const late = await reviewer(world)
    const behind = await reviewer(world, () => new Date(Date.now() - 3_600_000))
    const recordId = reviewRecordId('owl.png', 'ground')
    await late.judge({ recordId, verdict: 'accept', who: 'ada' })
    await behind.judge({ recordId, verdict: 'reject', who: 'bob' })
    expect((await readVerdicts(world.store)).get(recordId)).toMatchObject({ verdict: 'reject', who: 'bob' })
    await late.judge({ recordId, verdict: 'withdraw', who: 'ada' })
    expect((await readVerdicts(world.store)).has(recordId)).toBe(false)
    expect(await verdictKeys(world.store)).toHaveLength(3)
  })

  it('may open a run at the same moment, before anybody built its index', async () => {
    const { store } = await makeReviewRun()
    const folder = await tempFolder()
    const indexes = await Promise.all(Array.from({ length: 6 }, () => openRunIndex(store, folder)))
    for (const index of indexes) {
      expect(index.recordCount).toBe(9)
      for (const image of index.images) expect(await index.readRecords(image)).not.toEqual([])
      await index.close()
    }
    expect(await readdir(folder)).toHaveLength(1)
  })
})

describe('a run that is still labelled', () => {
  async function served(world: World, { problems = [] as unknown[] } = {}) {
    let nowMs = Date.parse('2026-01-01T00:00:00Z')
    const review = await serveNewest(world.store, {
      clock: () => new Date(nowMs),
      onProblem: (problem) => problems.push(problem),
      open: async () =>
        await openReviewedRun({
          store: world.store,
          against: null,
          cacheFolder: join(world.run, '.review'),
          clock: () => new Date(nowMs),
        }),
      appOf: (run) =>
        createReviewApp({
          run,
          page: new Map([['index.html', { text: 'the page', type: 'text/html' }]]),
          ...openPictures({ store: world.store, place: null }),
          token: null,
          cookieName: '',
          who: () => 'ada',
        }),
    })
    onTestFinished(async () => await review.close())
    const ask = async (path: string, init?: RequestInit) =>
      await review.fetch(new Request(`http://localhost${path}`, init))
    return {
      ask,
      counts: async () => await (await ask('/api/run')).json(),
      async load() {
        nowMs += 3000
        expect((await ask('/')).status).toBe(200)
      },
    }
  }

  async function sealMore({ store }: World, key: string): Promise<void> {
    await writePart(
      store,
      recordsOf([{ key, said: [{ task: 'caption', question: 'q', output: { text: 'New.' } }] }]),
    )
    await sealRun({ store, runId: 'run-review', clock: () => new Date() })
  }

  it('shows what was sealed since when the page is loaded anew, and goes on without', async () => {
    const world = await makeReviewRun()
    const { ask, counts, load } = await served(world)
    const item = (await (await ask('/api/view?name=a&start=0&count=50')).json()) as {
      items: { image: number; version: string }[]
    }
    await sealMore(world, 'aaa-first.png')
    expect(await counts()).toMatchObject({ records: 9 })
    await load()
    expect(await counts()).toMatchObject({ records: 10, images: 6 })
    // A page that was open all along asks for pictures by place and version: never another one than it meant.
    const { image, version } = item.items[0]!
    const picture = await ask(`/thumb/${image}?v=${version}`)
    expect(await picture.json()).toEqual({ problem: 'the run has changed since; load the page again' })
    const judged = await ask('/api/verdict', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ recordId: reviewRecordId('owl.png', 'ground'), verdict: 'accept' }),
    })
    expect(judged.status).toBe(200)
    for (const key of ['b1.png', 'b2.png', 'b3.png']) {
      await sealMore(world, key)
      await load()
    }
    expect(await counts()).toMatchObject({ records: 13 })
  })

  it('goes on with what it has where the new state cannot be read, and says so', async () => {
    const world = await makeReviewRun()
    const problems: unknown[] = []
    const { counts, load } = await served(world, { problems })
    await sealMore(world, 'new.png')
    await mkdir(join(world.run, verdictsPrefix, 'aa'), { recursive: true })
    const name = `${'a'.repeat(32)}-1767225600000-00000000.json`
    await writeFile(join(world.run, verdictsPrefix, 'aa', name), '{"v":1,"verd')
    await load()
    expect(await counts()).toMatchObject({ records: 9 })
    expect(problems).toEqual([
      expect.objectContaining({ message: expect.stringMatching(/has 12 bytes and is no verdict/) }),
    ])
  })
})

describe('files that were cut off', () => {
  it('a verdict that is none is named with its file, and nothing is guessed', async () => {
    const { store, run } = await makeReviewRun()
    const recordId = reviewRecordId('owl.png', 'ground')
    const key = await writeVerdict(store, {
      v: 1,
      recordId,
      verdict: 'reject',
      who: 'ada',
      at: '2026-01-01T00:00:00.000Z',
    })
    const whole = await readFile(join(run, key))
    for (const bytes of [0, 1, whole.length - 3]) {
      await writeFile(join(run, key), whole.subarray(0, bytes))
      await expect(readVerdicts(store)).rejects.toThrow(
        `${key} has ${bytes} bytes and is no verdict this version reads; restore the file, or remove it`,
      )
    }
  })

  it.each([['of no bytes', 0] as const, ['cut off', 60] as const])(
    'a thumbnail %s is made anew from its image',
    async (_name, bytes) => {
      const world = await makeReviewRun()
      const run = await reviewer(world)
      const image = run.index.images.find(({ key }) => key === 'owl.png')!
      const { readThumbnail } = openPictures({ store: world.store, place: null })
      const whole = await readThumbnail(image)
      const path = join(world.run, thumbnailKey(image.sha256!))
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, 'bytes' in whole ? whole.bytes.subarray(0, bytes) : '')
      expect(await readThumbnail(image)).toEqual(whole)
    },
  )
})

// The kernel lets nobody make folders there, root included.
it.skipIf(process.platform !== 'linux')(
  'a run that cannot be written to has its index elsewhere',
  async () => {
    const cache = await openReviewCache('/sys')
    expect(cache).toMatchObject({ isReadOnlyRun: true })
    await writeFile(join(cache.folder, 'index'), 'x')
    await cache.close()
    await expect(readdir(cache.folder)).rejects.toThrow('ENOENT')
  },
)
