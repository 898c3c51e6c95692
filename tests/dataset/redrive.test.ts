// Dead letters: what is wrong with each, and that none is lost on its way back.
import { describe, expect, test } from 'vitest'
import { writeWorkMessages } from '../../dataset/events.ts'
import { openMemoryQueue } from '../../dataset/queues/memory.ts'
import { classifyDeadLetter, redriveDeadLetters, type RunLook } from '../../dataset/redrive.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { UserError } from '../../schemas/errors.ts'
import type { RunConfig } from '../../schemas/run-config.ts'

const image = { bucket: 'images', key: 'a.png' }
const ask = (runId: string, more: object = {}, images = [image]) =>
  writeWorkMessages(images, { runId, ...more })[0]!
const task: RunConfig['tasks'][number] = {
  task: 'caption',
  taskVersion: 1,
  ordinal: 0,
  template: 'chat',
  maxNewTokens: 9,
  prompts: [{ question: 'q' }],
}
const run = (createdAt: string): RunLook => ({ kind: 'ok', config: { tasks: [task], createdAt } })
const runs: Record<string, RunLook> = {
  old: run('2026-01-01T00:00:00Z'),
  young: run('2026-01-03T00:00:00Z'),
  bad: { kind: 'bad' },
}

describe('a dead letter', () => {
  test.each([
    ['unknown-message', 'no JSON', 9],
    ['unknown-message', '{"schema":"coglabel.work.v99","runId":"old","items":[]}', 9],
    ['no-run', ask('missing'), 9],
    ['bad-run', ask('bad'), 9],
    ['bad-bucket', ask('old', {}, [image, { bucket: 'secrets', key: 'a' }]), 9],
    ['unknown-task', ask('old', { tasks: ['ground'] }), 9],
    ['crash', ask('old', { tasks: ['caption'] }), 9],
    ['try-again', ask('old'), 2],
    ['try-again', ask('old', {}, [image, image]), 9],
    ['try-again', ask('young'), 9],
    ['try-again', '{"Event":"s3:TestEvent"}', 9],
  ] as const)('is of class %s: %s', (expected, body, receiveCount) => {
    const facts = {
      message: { body, receiveCount, sentAtMs: Date.UTC(2026, 0, 2) },
      lookAtRun: (runId: string) => runs[runId] ?? { kind: 'none' as const },
      hasBucket: (bucket: string) => bucket === 'images',
    }
    expect(classifyDeadLetter(facts)).toBe(expected)
  })
})

test('is deleted only after it was sent, and stays when the queue does not take it', async () => {
  for (const outcome of ['taken', 'refused', 'killed after'] as const) {
    const [queue, deadLetters] = [openMemoryQueue(), openMemoryQueue()]
    await deadLetters.send(['{"Event":"s3:TestEvent"}', 'no message'])
    const send = async (bodies: readonly string[]) => {
      if (outcome === 'refused') return bodies.map(() => false)
      const taken = await queue.send(bodies)
      if (outcome === 'killed after') throw new Error('killed')
      return taken
    }
    const redriven = redriveDeadLetters({
      deadLetters,
      queue: { send },
      queueOf: () => ({ send }),
      runStoreOf: () => openMemoryStore(),
      imagesOf: () => {
        throw new UserError('no bucket')
      },
      classes: new Set(['try-again']),
      limits: { leaseMs: 1000, waitMs: 0, maxMessages: 100 },
    })
    if (outcome === 'taken')
      expect(await redriven).toEqual({
        found: { 'try-again': 1, 'unknown-message': 1 },
        sent: { 'try-again': 1 },
      })
    else await expect(redriven).rejects.toThrow()
    const left = await deadLetters.stats()
    expect(left, outcome).toEqual({ visible: outcome === 'taken' ? 1 : 2, inFlight: 0, delayed: 0 })
    expect((await queue.stats()).visible).toBe(outcome === 'refused' ? 0 : 1)
  }
})
