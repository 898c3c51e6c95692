// The notice of EC2, against a real server that stands for the instance's metadata.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { manualClock } from '../helpers/manual-clock.ts'
import { defaultSpotLimits, waitForSpotNotice } from '../../gpu-worker/cloud/spot-notice.ts'
import { type HttpAnswer, type HttpCall, startHttpServer } from '../helpers/http-server.ts'

const notice = '{"action":"terminate","time":"2026-01-01T00:02:00Z"}'

/** IMDSv2: a token for a PUT, and answers to looks with the latest one. */
async function openMetadata(
  look: (times: number) => HttpAnswer,
  { token = () => ({}), requestMs = 10_000 }: { token?: () => HttpAnswer; requestMs?: number } = {},
) {
  let [tokens, looks] = [0, 0]
  const isLook = ({ path }: HttpCall) => path === '/latest/meta-data/spot/instance-action'
  const server = await startHttpServer((call) => {
    if (call.method === 'PUT' && call.path === '/latest/api/token') {
      if (call.headers['x-aws-ec2-metadata-token-ttl-seconds'] !== '21600') return { status: 400 }
      tokens += 1
      return { body: `token-${tokens}`, ...token() }
    }
    if (!isLook(call)) return { status: 404 }
    if (call.headers['x-aws-ec2-metadata-token'] !== `token-${tokens}`) return { status: 401 }
    looks += 1
    return look(looks)
  })
  const clock = manualClock(Date.parse('2026-01-01T00:00:00Z'))
  const errors: string[] = []
  const stop = new AbortController()
  const found = waitForSpotNotice(
    {
      endpoint: server.endpoint,
      clock,
      limits: { ...defaultSpotLimits, requestMs },
      onError: (error) => errors.push(String(error)),
    },
    stop.signal,
  )
  return {
    found,
    stop,
    errors,
    counts: () => ({ tokens, looks }),
    forgetTokens: () => (tokens += 1),
    async pass(isEnough: () => boolean) {
      for (let steps = 0; !isEnough(); steps += 1) {
        if (steps > 3000) throw new Error('it does not come about')
        await sleep(2)
        clock.advance(1000)
      }
    },
  }
}

const missing = { status: 404 }

test('finds the notice when it comes, with one token', async () => {
  const world = await openMetadata((times) => (times < 4 ? missing : { body: notice }))
  await world.pass(() => world.counts().looks === 4)
  expect(await world.found).toEqual({ action: 'terminate', atMs: Date.parse('2026-01-01T00:02:00Z') })
  expect(world.counts()).toEqual({ tokens: 1, looks: 4 })
  expect(world.errors).toEqual([])
})

test('takes a new token when the old one has run out', async () => {
  const world = await openMetadata((times) => (times < 3 ? missing : { body: notice }))
  await world.pass(() => world.counts().looks === 1)
  world.forgetTokens()
  await world.pass(() => world.counts().looks === 3)
  expect(await world.found).not.toBeNull()
  expect(world.counts().tokens).toBe(3)
})

test.each<[string, HttpAnswer]>([
  ['an error', { status: 503 }],
  ['no answer', { hang: true }],
  ['something else', { body: 'soon' }],
])('goes on looking after %s, told of once', async (_name, trouble) => {
  const world = await openMetadata((times) => (times < 3 ? trouble : { body: notice }), { requestMs: 500 })
  await world.pass(() => world.counts().looks === 3)
  expect(await world.found).not.toBeNull()
  expect(world.errors).toHaveLength(1)
})

test('ends with nothing when it is told to, also where there is no such service', async () => {
  const world = await openMetadata(() => missing, { token: () => ({ status: 403 }) })
  await world.pass(() => world.counts().tokens === 3)
  world.stop.abort()
  expect(await world.found).toBeNull()
  expect(world.errors).toHaveLength(1)
})
