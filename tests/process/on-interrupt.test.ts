// One request to stop that arrives twice is one; the next one is another.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { onInterrupt } from '../../gpu-worker/process/on-interrupt.ts'

test('counts what comes within a moment once, what comes later again, and nothing any more when it is told so', async () => {
  const listeners = () => process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')
  const before = listeners()
  let heard = 0
  const off = onInterrupt(() => (heard += 1))
  process.emit('SIGINT')
  process.emit('SIGTERM')
  process.emit('SIGINT')
  expect(heard).toBe(1)
  await sleep(150)
  process.emit('SIGTERM')
  expect(heard).toBe(2)
  off()
  expect(listeners()).toBe(before)
})
