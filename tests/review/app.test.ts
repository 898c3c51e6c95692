// The review's requests without a browser: who is let in, what is refused, what is told and written.
import { describe, expect, it } from 'vitest'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { readVerdicts } from '../../dataset/verdicts.ts'
import { createReviewApp } from '../../review/app.ts'
import { openReviewedRun } from '../../review/reviewed-run.ts'
import { runConfigKey } from '../../schemas/run-config.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { everyShape, recordsOf, sealedStore, testConfig } from '../helpers/export-run.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const token = 'secret'
const cookie = 'review=secret'

async function open({ nowMs = Date.UTC(2026, 0, 1) } = {}) {
  const records = recordsOf(everyShape)
  const store = await sealedStore(records)
  await store.putIfAbsent(runConfigKey, Buffer.from(JSON.stringify(testConfig)))
  let now = nowMs
  const run = await openReviewedRun({
    store,
    against: null,
    cacheFolder: await tempFolder(),
    clock: () => new Date(now),
  })
  const app = createReviewApp({
    run,
    page: new Map([['index.html', { text: '<!doctype html>', type: 'text/html; charset=utf-8' }]]),
    readPicture: async () =>
      await Promise.resolve({ bytes: Buffer.from('<svg onload=alert(1)>'), mime: 'image/png' }),
    readThumbnail: async () => await Promise.resolve({ problem: 'none' }),
    token,
    cookieName: 'review',
    who: () => 'ada',
  })
  const ask = async (
    path: string,
    init: Omit<RequestInit, 'headers'> & { headers?: Record<string, string> } = {},
  ) => await app.request(path, { ...init, headers: { cookie, ...init.headers } })
  const judge = async (
    body: unknown,
    headers: Record<string, string> = { 'content-type': 'application/json' },
  ) => await ask('/api/verdict', { method: 'POST', headers, body: JSON.stringify(body) })
  const of = (task: string, key = 'a/one.jpg') =>
    records.find((record) => record.task === task && record.source.key === key)! satisfies LabelRecord
  return { app, ask, judge, of, store, run, setNow: (ms: number) => (now = ms) }
}

describe('who is let in', () => {
  it('turns the token of the address into a cookie that scripts and other sites do not get', async () => {
    const { app } = await open()
    const response = await app.request('/?token=secret')
    expect([response.status, response.headers.get('location')]).toEqual([302, './'])
    expect(response.headers.get('set-cookie')).toBe('review=secret; Path=/; HttpOnly; SameSite=Strict')
  })

  it.each([
    ['no token', '/', {}],
    ['a wrong token', '/?token=other', {}],
    ['a wrong cookie', '/api/run', { cookie: 'review=other' }],
    ['the cookie of another review', '/api/run', { cookie: 'review-1=secret' }],
  ])('refuses %s, with nothing of the run in the answer', async (_name, path, headers) => {
    const { app } = await open()
    const response = await app.request(path, { headers })
    expect(response.status).toBe(401)
    expect(await response.text()).not.toContain('run-test')
  })

  it('takes verdicts as JSON only, which a form of another site cannot send', async () => {
    const { judge, of, store } = await open()
    const verdict = { recordId: of('caption').recordId, verdict: 'accept' }
    expect((await judge(verdict, { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await judge(verdict, { 'content-type': 'application/x-www-form-urlencoded' })).status).toBe(415)
    expect((await readVerdicts(store)).size).toBe(0)
  })

  it('sends every answer with a policy under which no text can run', async () => {
    const { app, ask } = await open()
    for (const response of [
      await ask('/'),
      await ask('/api/run'),
      await ask('/picture/0?v=x'),
      await app.request('/'),
      await ask('/nowhere'),
    ]) {
      const policy = response.headers.get('content-security-policy')
      expect(policy).toContain("default-src 'none'")
      expect(policy).not.toMatch(/unsafe|\*|https?:/)
      expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    }
  })
})

describe('what is told', () => {
  it('counts the run', async () => {
    const { ask } = await open()
    expect(await (await ask('/api/run')).json()).toMatchObject({
      runId: 'run-test',
      who: 'ada',
      images: 2,
      records: 5,
      statuses: { ok: 5, filtered: 0, failed: 0 },
      index: { how: 'built' },
      against: null,
    })
  })

  it('gives a window of the walk, and all records of an image', async () => {
    const { ask } = await open()
    const view = await (await ask('/api/view?task=ground&count=1')).json()
    expect(view).toMatchObject({
      images: 1,
      records: 2,
      start: 0,
      items: [{ image: 1, key: 'b two/ünï.jpg' }],
    })
    const image = await (await ask(`/api/image/1?v=${view.items[0].version}`)).json()
    expect(image.records.map(({ task, ordinal }: LabelRecord) => `${task} ${ordinal}`)).toEqual([
      'ground 0',
      'ground 1',
    ])
  })

  it.each([
    ['/api/view?count=100000', 400, 'count'],
    ['/api/view?where=boxes', 422, 'expected one of'],
    ['/api/view?sort=luck', 400, 'sort'],
    ['/api/image/0?v=stale', 409, 'load the page again'],
    ['/api/image/7?v=x', 404, 'no such image'],
    ['/thumb/constructor?v=x', 404, 'no such image'],
    ['/page/..%2F..%2Fpackage.json', 404, 'no such file'],
  ])('answers %s with %d and says why', async (path, status, says) => {
    const { ask } = await open()
    const response = await ask(path)
    expect(response.status).toBe(status)
    expect((await response.json()).problem).toContain(says)
  })
})

describe('judging', () => {
  it('keeps a walk as it was while its records are judged, and makes it anew under another name', async () => {
    const { ask, judge, of } = await open()
    const walk = async (name: string) =>
      (await (await ask(`/api/view?verdict=none&name=${name}`)).json()).records
    expect(await walk('first')).toBe(5)
    await judge({ recordId: of('caption').recordId, verdict: 'accept' })
    expect(await walk('first')).toBe(5)
    expect(await walk('second')).toBe(4)
  })

  it('lets the newest stand though the clock was set back', async () => {
    const { judge, of, store, setNow } = await open({ nowMs: Date.UTC(2026, 5, 1) })
    const { recordId } = of('caption')
    await judge({ recordId, verdict: 'reject' })
    setNow(Date.UTC(2026, 0, 1))
    await judge({ recordId, verdict: 'accept' })
    expect((await readVerdicts(store)).get(recordId)?.verdict).toBe('accept')
  })

  const dog = { text: 'dog', start: 2, end: 5, boxes: [[0.1, 0.1, 0.2, 0.2]] }
  it.each([
    [
      'a record of another run',
      'caption',
      { verdict: 'accept', recordId: 'f'.repeat(32) },
      'there is no record',
    ],
    ['an edit of another shape', 'caption', { output: { phrase: 'x', boxes: [] } }, 'expected text'],
    [
      'words that are not in the text',
      'grounded-caption',
      { output: { text: 'a cat', phrases: [dog] } },
      'mark its words again',
    ],
    [
      'phrases over each other',
      'grounded-caption',
      { output: { text: 'a dog', phrases: [dog, dog] } },
      'overlap',
    ],
    [
      'a box without an inside',
      'grounded-caption',
      { output: { text: 'a dog', phrases: [{ ...dog, boxes: [[0.5, 0.1, 0.5, 0.2]] }] } },
      'draw it again',
    ],
    [
      'other questions',
      'qa',
      { output: { turns: [{ question: 'Why?', answer: 'So.', kind: 'asked' }] } },
      'the same ones',
    ],
    [
      'a box outside of the image',
      'grounded-caption',
      { output: { text: 'a dog', phrases: [{ ...dog, boxes: [[0, 0, 1.5, 1]] }] } },
      'output',
    ],
    ['an edit without an output', 'caption', {}, 'an edit has an output'],
  ])('refuses %s', async (...[, task, change, says]) => {
    const { judge, of, store } = await open()
    const response = await judge({ recordId: of(task).recordId, verdict: 'edit', ...change })
    expect([400, 422]).toContain(response.status)
    expect((await response.json()).problem).toContain(says)
    expect((await readVerdicts(store)).size).toBe(0)
  })

  it('says of an empty place that it holds no run', async () => {
    const opening = openReviewedRun({
      store: openMemoryStore(),
      against: null,
      cacheFolder: await tempFolder(),
      clock: () => new Date(),
    })
    await expect(opening).rejects.toThrow(/holds no run/)
  })
})
