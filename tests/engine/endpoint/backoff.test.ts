// When a server is asked again.
import { expect, test } from 'vitest'
import {
  backoffMs,
  defaultRetry,
  isPassing,
  retryAfterMs,
} from '../../../gpu-worker/engine/endpoint/backoff.ts'

test('each delay is twice the one before, half of it by chance, up to a limit', () => {
  const shortest = [1, 2, 3, 4, 7, 8].map((attempt) => backoffMs(attempt, defaultRetry, 0))
  const longest = [1, 2, 3, 4, 7, 8].map((attempt) => backoffMs(attempt, defaultRetry, 1))
  expect(longest).toEqual([500, 1000, 2000, 4000, 30_000, 30_000])
  expect(shortest).toEqual(longest.map((ms) => ms / 2))
})

test.each([
  ['3', 3000],
  ['0.5', 500],
  [' 7 ', 7000],
  ['Thu, 01 Jan 2026 00:00:10 GMT', 10_000],
  ['Wed, 31 Dec 2025 23:59:00 GMT', 0],
  ['86400', 300_000],
  ['soon', null],
  [null, null],
])('Retry-After %j asks for %j ms', (header, ms) => {
  expect(retryAfterMs(header, defaultRetry, Date.UTC(2026, 0, 1))).toBe(ms)
})

test.each([
  [429, true],
  [500, true],
  [503, true],
  [408, true],
  [400, false],
  [401, false],
  [404, false],
  [200, false],
])('%i may pass: %s', (status, passes) => {
  expect(isPassing(status)).toBe(passes)
})
