// Protection from scaling in, against a real server that stands for the ECS agent.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { manualClock } from '../helpers/manual-clock.ts'
import {
  defaultProtectionLimits as limits,
  openTaskProtection,
  planProtection,
  type ProtectionState,
} from '../../gpu-worker/cloud/task-protection.ts'
import { type HttpAnswer, startHttpServer } from '../helpers/http-server.ts'

const minute = 60_000
const fresh: ProtectionState = {
  held: 0,
  busyAtMs: -Infinity,
  isOn: false,
  toldAtMs: -Infinity,
  failedAtMs: -Infinity,
}
const on = { ...fresh, held: 2, busyAtMs: 0, isOn: true, toldAtMs: 0 }

test.each<[string, ProtectionState, number, boolean | null]>([
  ['nothing was ever held', fresh, 0, null],
  ['the first message is held', { ...fresh, held: 1 }, 0, true],
  ['it is on and fresh', on, 9 * minute, null],
  ['it was told ten minutes ago', on, 10 * minute, true],
  ['nothing has been held for a moment', { ...on, held: 0, busyAtMs: minute }, minute + 5000, null],
  ['nothing has been held for long', { ...on, held: 0, busyAtMs: minute }, minute + limits.idleMs, false],
  ['the agent has just refused', { ...fresh, held: 1, failedAtMs: 0 }, 10_000, null],
  ['the agent refused a while ago', { ...fresh, held: 1, failedAtMs: 0 }, limits.retryMs, true],
])('when %s, says so and no more', (_name, ...[state, nowMs, wanted]) => {
  expect(planProtection(state, { nowMs, limits })).toBe(wanted)
})

async function openAgent(
  answer: () => HttpAnswer = () => ({ body: '{"protection":{}}' }),
  requestMs = 10_000,
) {
  const server = await startHttpServer(answer)
  const clock = manualClock(0)
  const errors: string[] = []
  const protection = openTaskProtection({
    agentUri: server.endpoint,
    clock,
    limits: { ...limits, requestMs },
    onError: (error) => errors.push(String(error)),
  })
  const stop = new AbortController()
  const kept = protection.keep(stop.signal)
  return {
    protection,
    errors,
    told: () => server.calls.map(({ body }) => JSON.parse(body) as Record<string, unknown>),
    calls: server.calls,
    /** Lets time pass in steps small enough for every look. */
    async pass(durationMs: number) {
      for (let left = durationMs; left > 0; left -= 5000) {
        await sleep(2)
        clock.advance(Math.min(5000, left))
      }
    },
    async until(isSo: () => boolean) {
      for (let tries = 0; !isSo(); tries += 1) {
        if (tries > 1000) throw new Error('it does not come about')
        await sleep(5)
      }
    },
    async end() {
      stop.abort()
      await kept
    },
    close: server.close,
  }
}

const received = (messages: number) => ({ kind: 'received' as const, messages, waitedMs: 0 })
const acked = { kind: 'acked' as const, messageId: 'm', heldMs: 1 }
const turnedOn = { ProtectionEnabled: true, ExpiresInMinutes: 20 }

test('goes on with the first message, is renewed, and goes off when idle', async () => {
  const { protection, told, calls, pass, until, end } = await openAgent()
  await pass(minute)
  expect(told()).toEqual([])
  protection.event(received(2))
  await until(() => calls.length === 1)
  await pass(25 * minute)
  expect(told()).toEqual([turnedOn, turnedOn, turnedOn])
  protection.event(acked)
  await pass(2 * minute)
  expect(told()).toHaveLength(3)
  protection.event({
    kind: 'released',
    messageId: 'm',
    reason: 'try-again',
    message: '',
    delayMs: 0,
    runId: 'r',
  })
  await pass(minute)
  await until(() => calls.length === 4)
  expect(told().at(-1)).toEqual({ ProtectionEnabled: false })
  await end()
  expect(calls).toHaveLength(4)
  expect(calls[0]).toMatchObject({ method: 'PUT', path: '/task-protection/v1/state' })
})

test('goes off at the end, whatever is held', async () => {
  const { protection, told, until, calls, end } = await openAgent()
  protection.event(received(1))
  await until(() => calls.length === 1)
  await end()
  expect(told()).toEqual([turnedOn, { ProtectionEnabled: false }])
})

test.each<[string, HttpAnswer]>([
  ['refuses with a status', { status: 500, body: 'away' }],
  ['refuses in its answer', { body: '{"failure":{"Reason":"TASK_NOT_VALID"}}' }],
  ['does not answer', { hang: true }],
])('an agent that %s is told of, asked again later, and no reason to fail', async (_name, answer) => {
  const { protection, calls, errors, pass, until, end } = await openAgent(() => answer, 500)
  protection.event(received(1))
  await until(() => errors.length === 1)
  await pass(limits.retryMs - 5000)
  expect(calls).toHaveLength(1)
  await pass(10_000)
  await until(() => errors.length === 2)
  await end()
})
