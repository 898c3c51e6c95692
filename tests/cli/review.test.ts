// `coglabel review` as it is called: the address it prints, who gets in, and how it stops.
import { createServer } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { runReview } from '../../cli/review.ts'
import { makeReviewRun } from '../helpers/review-run.ts'
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

test.each([
  [[], 'review takes one run'],
  [['nowhere'], 'is no folder'],
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
