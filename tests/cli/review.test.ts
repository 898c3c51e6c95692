// `coglabel review` as it is called: the address it prints, who gets in, and how it stops.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { expect, onTestFinished, test, vi } from 'vitest'
import { runReview } from '../../cli/review.ts'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { writePart } from '../../dataset/parts.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { objectUri } from '../../dataset/stores/object-store.ts'
import { readVerdicts } from '../../dataset/verdicts.ts'
import { thumbnailKey } from '../../schemas/thumbnail.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'
import { someRecord, someRun } from '../helpers/records.ts'
import { makeReviewRun } from '../helpers/review-run.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runVerb } from '../helpers/verbs.ts'

test('serves on loopback behind a token of its own, until it is interrupted', async () => {
  const { run } = await makeReviewRun()
  const { promise: printed, resolve: print } = Promise.withResolvers<string>()
  let interrupt = () => {}
  const running = runVerb(runReview, [run, '--port', '0', '--as', 'Ada'], {
    print,
    onInterrupt: (stop) => {
      interrupt = stop
      return () => {}
    },
  })
  const address = await printed
  expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[0-9a-f]{32}$/)
  const origin = new URL(address).origin
  expect((await fetch(`${origin}/api/run`)).status).toBe(401)
  const entered = await fetch(address, { redirect: 'manual' })
  const cookie = entered.headers.get('set-cookie')!.split(';')[0]!
  const facts = await (await fetch(`${origin}/api/run`, { headers: { cookie } })).json()
  expect(facts).toMatchObject({ who: 'Ada', images: 5, records: 9 })
  const page = await (await fetch(`${origin}/page/app.js`, { headers: { cookie } })).text()
  expect(page).toContain('The page: where the reviewer is')
  interrupt()
  const { code, told } = await running
  expect([code, told]).toEqual([
    0,
    expect.stringMatching(/index of 9 records built in [\d.]+ s; Ctrl\+C stops/),
  ])
  await expect(fetch(`${origin}/`)).rejects.toThrow()
})

test('reviews a run of a place: pictures from its buckets, thumbnails kept, verdicts written there', async () => {
  const { place, flags } = await openEmulatedTestPlace()
  const bytes = await readFile(new URL('../../examples/images/owl.png', import.meta.url))
  const images = place.imagesOf('images')
  await images.putIfAbsent('a b/owl.png', bytes)
  const store = place.runStoreOf('run-cloud')
  await openRun(store, { wanted: someRun, now: new Date(), runId: 'run-cloud' })
  const record = someRecord({ key: 'a b/owl.png' })
  const sha256 = sha256Hex(bytes)
  const source = { ...record.source, uri: objectUri(images, 'a b/owl.png'), sha256 }
  await writePart(store, [{ ...record, source }])
  await sealRun({ store, runId: 'run-cloud', clock: () => new Date() })
  const { promise: printed, resolve: print } = Promise.withResolvers<string>()
  const { promise: interrupted, resolve: interrupt } = Promise.withResolvers<() => void>()
  const onInterrupt = (stop: () => void) => {
    interrupt(stop)
    return () => {}
  }
  // As docs/cloud.md has it: the place of all verbs is set once.
  vi.stubEnv('COGLABEL_PLACE', flags[1])
  vi.stubEnv('COGLABEL_AWS_ENDPOINT', flags[3])
  const args = ['run-cloud', '--port', '0', '--cache', await tempFolder()]
  const running = runVerb(runReview, args, { print, onInterrupt })
  const address = await Promise.race([printed, running.then(({ told }) => told)])
  const { origin } = new URL(address)
  const cookie = (await fetch(address, { redirect: 'manual' })).headers.get('set-cookie')!.split(';')[0]!
  const ask = async (path: string, init: RequestInit = {}) =>
    await fetch(`${origin}/${path}`, { ...init, headers: { cookie, 'content-type': 'application/json' } })
  const { items } = (await (await ask('api/view')).json()) as { items: [{ version: string }] }
  const picture = await ask(`picture/0?v=${items[0].version}`)
  expect(Buffer.from(await picture.arrayBuffer()).equals(bytes)).toBe(true)
  const thumbnail = await ask(`thumb/0?v=${items[0].version}`)
  expect(thumbnail.headers.get('content-type')).toBe('image/webp')
  expect(await store.head(thumbnailKey(sha256))).not.toBeNull()
  await ask('api/verdict', {
    method: 'POST',
    body: JSON.stringify({ recordId: record.recordId, verdict: 'reject' }),
  })
  expect((await readVerdicts(store)).get(record.recordId)?.verdict).toBe('reject')
  const stop = await interrupted
  stop()
  expect((await running).code).toBe(0)
  // A run folder is itself.
  await expect(runVerb(runReview, [await tempFolder(), '--port', '0'])).rejects.toThrow('is no run folder')
  vi.unstubAllEnvs()
})

test.each([
  [[], 'review takes one run'],
  [['nowhere'], 'is no run folder'],
  [['nowhere', '--port', 'http'], '--port is "http"'],
  [['nowhere', '--as', ' '], 'expected a name'],
])('called with %j it says what it needs', async (args, says) => {
  await expect(runVerb(runReview, args)).rejects.toThrow(says)
})

test('says that a port is taken', async () => {
  const { run } = await makeReviewRun()
  const other = createServer()
  const { promise, resolve } = Promise.withResolvers<void>()
  other.listen(0, '127.0.0.1', resolve)
  await promise
  onTestFinished(() => void other.close())
  const taken = other.address()
  const port = String(typeof taken === 'object' ? taken?.port : '')
  await expect(runVerb(runReview, [run, '--port', port])).rejects.toThrow(/is taken; stop what listens there/)
})
