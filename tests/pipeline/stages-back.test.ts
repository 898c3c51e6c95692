// Two models that take turns: what the second says goes back to the first, and on again, each task asked once by whoever
// answers it; also where workers die, where what is asked is part of it, and where a task fails on the way.
import { expect, test } from 'vitest'
import { readQueueBody } from '../../dataset/events.ts'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError } from '../../schemas/errors.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { openTestWorld } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const define = (name: string, prompt: string, role?: 'grounding') =>
  TaskDefinition.parse({ name, prompt, ...(role === undefined ? {} : { role }) })

/** caption (chat), ground (grounding), mood (chat, of both), check (grounding, of mood), last (chat). */
const definitions = [
  define('mood', 'Is {{prev.ground.text}} calm, as in "{{prev.caption.text}}"?'),
  define('check', 'Is it so: {{prev.mood.value}}', 'grounding'),
  define('last', 'All in all, {{prev.check.value}} and {{prev.caption.text}}'),
]

const answer = ({ question }: { question: string }) => {
  if (question.startsWith('Describe')) return 'A dog and a cat.'
  if (question.startsWith('Is a')) return 'Very calm.'
  if (question.startsWith('Is it so')) return 'It is.'
  return question.startsWith('All in all') ? 'Fine.' : undefined
}

const roles = { caption: 'c0', ground: '9d', mood: 'c0', check: '9d', last: 'c0' }

async function openWorld({ claims }: { claims?: 'on' } = {}) {
  const [chat, grounding] = [
    openCountingEngine({ answer }),
    openCountingEngine({ answer, digest: '9d'.repeat(32) }),
  ]
  const world = await openTestWorld({
    engine: chat,
    grounding,
    from: 'caption',
    definitions,
    ...(claims === undefined ? {} : { claims }),
  })
  const queueOfRole = (role: string): WorkQueue => (role === 'grounding' ? world.groundingQueue : world.queue)
  const startChat = (options: Parameters<typeof world.start>[0] = {}) =>
    world.start({ queueOfRole, ...options })
  const startGrounding = (options: Parameters<typeof world.start>[0] = {}) =>
    world.start({ engine: grounding, queue: world.groundingQueue, queueOfRole, ...options })
  return {
    ...world,
    chat,
    grounding,
    startChat,
    startGrounding,
    /** Workers of both models by turns, until nothing waits. */
    async drain() {
      for (let turns = 0; turns < 8; turns += 1) {
        const [mine, others] = [await world.queue.stats(), await world.groundingQueue.stats()]
        if (mine.visible + mine.delayed + others.visible + others.delayed === 0) return turns
        await (turns % 2 === 0 ? startChat() : startGrounding()).end()
      }
      throw new Error('messages go round and round')
    },
    async isEmpty() {
      return [await world.queue.stats(), await world.groundingQueue.stats(), await world.dead.stats()]
    },
  }
}

const states = (records: readonly LabelRecord[]) =>
  Object.fromEntries(
    records.map(({ task, status, error, model }) => [
      task,
      [error?.code ?? status, model.digest.slice(0, 2)],
    ]),
  )

const allOk = Object.fromEntries(Object.entries(roles).map(([task, digest]) => [task, ['ok', digest]]))

test('goes from the first model to the second, back, and on again, and asks each task once', async () => {
  const world = await openWorld()
  await world.send(await world.upload(4))
  // caption | ground | mood | check | last
  expect(await world.drain()).toBe(5)
  const records = await world.sealed()
  expect(records).toHaveLength(4 * 5)
  expect(states(records)).toEqual(allOk)
  expect([world.chat.counts, world.grounding.counts]).toMatchObject([
    { images: 4 * 3, prompts: 4 * 3 },
    { images: 4 * 2, prompts: 4 * (2 + 1) },
  ])
  expect(records.find(({ task }) => task === 'mood')).toMatchObject({
    inputs: { ground: { text: 'A dog and a cat.' }, caption: { text: 'A dog and a cat.' } },
  })
  expect(records.find(({ task }) => task === 'last')?.prompt.text).toContain('All in all, It is. and A dog')
  expect(await world.isEmpty()).toEqual([empty, empty, empty])
})

test('a message of a later stage says which it is, and brings what is needed from there on', async () => {
  const world = await openWorld()
  await world.send(await world.upload(1))
  await world.startChat().end()
  await world.startGrounding().end()
  const [message] = await world.queue.receive({ max: 1, waitMs: 0, leaseMs: 1 })
  const read = readQueueBody(message!.body)
  expect(read).toMatchObject({ kind: 'work', items: [{ role: 'chat', stage: 2 }] })
  const [item] = read.kind === 'work' ? read.items : []
  expect(Object.keys(item?.upstream ?? {}).toSorted()).toEqual(['caption', 'ground'])
})

test('a later stage alone is asked for: what it needs is asked on the way, and only it is kept', async () => {
  const world = await openWorld()
  await world.send(await world.upload(1), 1, ['mood'])
  await world.drain()
  expect(states(await world.sealed())).toEqual({ mood: ['ok', 'c0'] })
  expect(await world.isEmpty()).toEqual([empty, empty, empty])
})

test.each(['on', undefined] as const)(
  'an event that comes again when only the last stages lack their records brings those (claims: %s)',
  async (claims) => {
    const world = await openWorld(claims === undefined ? {} : { claims })
    const images = await world.upload(2)
    await world.send(images)
    await world.startChat().end()
    await world.startGrounding().end()
    await world.sealed()
    // The message of the third stage is lost.
    const lost = await world.queue.receive({ max: 10, waitMs: 0, leaseMs: 60_000 })
    await world.queue.ack(lost.map(({ lease }) => lease))
    world.clock.advance(3 * 60 * 60_000)
    await world.send(images)
    await world.drain()
    const records = await world.sealed()
    expect(records).toHaveLength(2 * 5)
    expect(states(records)).toEqual(allOk)
  },
)

test('a worker of the second model that cannot send back keeps its message, and another goes on', async () => {
  const world = await openWorld()
  await world.send(await world.upload(1))
  await world.startChat().end()
  const broken: WorkQueue = {
    ...world.queue,
    send: async () => {
      throw new RetryableError('503')
    },
  }
  const worker = world.startGrounding({
    queueOfRole: () => broken,
    mode: 'service',
  })
  await worker.pass(() => worker.of('released').length > 0)
  expect(worker.of('released')[0]?.reason).toBe('try-again')
  worker.stop()
  await worker.end()
  const records: ObjectStore = world.store
  expect((await records.list({ prefix: 'parts/' })).objects.length).toBeGreaterThan(1)
  world.clock.advance(60_000)
  for (let turns = 0; turns < 3; turns += 1) {
    await world.startGrounding().end()
    await world.startChat().end()
  }
  expect(states(await world.sealed())).toEqual(allOk)
  expect(await world.isEmpty()).toEqual([empty, empty, empty])
})

test('a second model without a way back leaves such a run to the dead letters, and says why', async () => {
  const world = await openWorld()
  await world.send(await world.upload(1))
  await world.startChat().end()
  const alone = world.startGrounding({ queueOfRole: () => null, mode: 'service' })
  await alone.pass(() => alone.of('released').length > 0)
  expect(alone.of('released')[0]).toMatchObject({
    reason: 'no-role-queue',
    message: expect.stringContaining('tasks of the role chat') as string,
  })
  alone.stop()
  await alone.end()
})

test('what fails on the way fails all behind it, each with a record, and nothing goes further', async () => {
  const world = await openWorld()
  const grounding = openCountingEngine({
    digest: '9d'.repeat(32),
    answer: ({ question }) => (question.startsWith('Is it so') ? ' ' : answer({ question })),
  })
  await world.send(await world.upload(1))
  await world.startChat().end()
  await world.startGrounding({ engine: grounding }).end()
  await world.startChat().end()
  await world.startGrounding({ engine: grounding }).end()
  expect(await world.isEmpty()).toEqual([empty, empty, empty])
  const records = await world.sealed()
  expect(states(records)).toMatchObject({
    mood: ['ok', 'c0'],
    check: ['answer-empty', '9d'],
    last: ['task-upstream-failed', expect.any(String)],
  })
  expect(records).toHaveLength(5)
})
