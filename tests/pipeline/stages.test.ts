// Tasks that come after others: in one session where one model answers both, and by a message where two do.
import { describe, expect, test } from 'vitest'
import { readQueueBody } from '../../dataset/events.ts'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError } from '../../schemas/errors.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import { maxUpstreamBytes, maxUpstreamChars, messageText, utf8Bytes } from '../../schemas/work-message.ts'
import { forwardUnits } from '../../gpu-worker/pipeline/stages.ts'
import { type CountingEngine, openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { openTestWorld, testBucket } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const caption = 'A dog and a cat.'
const says = (text: string) => (request: { question: string }) =>
  request.question.startsWith('Describe') ? text : undefined
const groundingDigest = '9d'.repeat(32)

type Models = {
  chat?: CountingEngine
  grounding?: CountingEngine
  tasks?: string[]
  phrases?: string[]
  from?: string
  definitions?: TaskDefinition[]
}

/** A run with two models, each with a worker, whose queues are apart. */
async function openTwoModels({
  chat = openCountingEngine({ answer: says(caption) }),
  grounding = openCountingEngine({ digest: groundingDigest }),
  tasks = ['caption'],
  phrases,
  from = 'caption',
  definitions,
}: Models = {}) {
  const world = await openTestWorld({
    engine: chat,
    grounding,
    tasks,
    from,
    ...(definitions === undefined ? {} : { definitions }),
    ...(phrases === undefined ? {} : { phrases }),
  })
  const queueOfRole = (role: string): WorkQueue | null => (role === 'grounding' ? world.groundingQueue : null)
  return {
    ...world,
    chat,
    grounding,
    startChat: (options: Parameters<typeof world.start>[0] = {}) => world.start({ queueOfRole, ...options }),
    startGrounding: (options: Parameters<typeof world.start>[0] = {}) =>
      world.start({ engine: grounding, queue: world.groundingQueue, ...options }),
  }
}

const brief = (records: readonly LabelRecord[]) =>
  records
    .map(({ task, ordinal, status, error, model }) => [
      task,
      ordinal,
      error?.code ?? status,
      model.digest.slice(0, 2),
    ])
    .toSorted((left, right) => (String(left) < String(right) ? -1 : 1))

test('asks both stages in one session where one model answers both', async () => {
  const engine = openCountingEngine({ answer: says(caption) })
  const world = await openTestWorld({ engine, from: 'caption' })
  await world.send(await world.upload(3))
  await world.start().end()
  const records = await world.sealed()
  expect(brief(records)).toEqual([
    ...Array.from({ length: 3 }, () => ['caption', 0, 'ok', 'c0']),
    ...Array.from({ length: 3 }, () => ['ground', 0, 'ok', 'c0']),
  ])
  expect([engine.counts.images, engine.counts.prompts]).toEqual([3, 9])
  const [ground] = records.filter(({ task }) => task === 'ground')
  expect(ground).toMatchObject({
    inputs: { caption: { text: caption } },
    output: { text: caption, phrases: [{ text: 'A dog' }, { text: 'a cat' }] },
    prompt: { text: expect.stringContaining('Where is a cat? Give its box.') as string },
  })
})

test('sends the second stage on, each image with what was said of it, and deletes the first after that', async () => {
  const world = await openTwoModels()
  await world.send(await world.upload(30))
  const worker = world.startChat()
  await worker.end()
  expect(world.chat.counts).toMatchObject({ images: 30, prompts: 30 })
  expect(brief(await world.sealed())).toHaveLength(30)
  // The images of one part share messages.
  expect(await world.groundingQueue.stats()).toEqual({ ...empty, visible: 2 })
  await world.startGrounding().end()
  const records = await world.sealed()
  expect(brief(records)).toEqual([
    ...Array.from({ length: 30 }, () => ['caption', 0, 'ok', 'c0']),
    ...Array.from({ length: 30 }, () => ['ground', 0, 'ok', '9d']),
  ])
  expect(world.grounding.counts).toMatchObject({ images: 30, prompts: 60 })
  expect([await world.queue.stats(), await world.groundingQueue.stats(), await world.dead.stats()]).toEqual([
    empty,
    empty,
    empty,
  ])
})

test('gives a record the same id whatever the first stage said', async () => {
  const ids: string[] = []
  for (const text of [caption, 'Three birds.']) {
    const world = await openTwoModels({ chat: openCountingEngine({ answer: says(text) }) })
    await world.send(await world.upload(1))
    await world.startChat().end()
    await world.startGrounding().end()
    ids.push((await world.sealed()).find(({ task }) => task === 'ground')!.recordId)
  }
  expect(ids[0]).toBe(ids[1])
})

test('gives the message back until the next stage is sent, and makes one row of what is made twice', async () => {
  const world = await openTwoModels()
  await world.send(await world.upload(4), 2)
  let failures = 2
  const flaky: WorkQueue = {
    ...world.groundingQueue,
    async send(bodies, options) {
      const taken = failures-- > 0
      // The second time it is taken, and the answer is lost.
      if (!taken || failures === 0) await world.groundingQueue.send(bodies, options)
      if (taken) throw new RetryableError('timeout')
      return bodies.map(() => true)
    },
  }
  const worker = world.startChat({ queueOfRole: () => flaky, limits: { idleExitMs: 200_000 } })
  await worker.end()
  expect(worker.of('released').map(({ reason }) => reason)).toContain('try-again')
  expect(await world.queue.stats()).toEqual(empty)
  await world.startGrounding().end()
  expect(brief(await world.sealed()).map(([task]) => task)).toEqual([
    ...Array.from({ length: 4 }, () => 'caption'),
    ...Array.from({ length: 4 }, () => 'ground'),
  ])
})

test('sends on again what a worker that died between the part and the message had sealed', async () => {
  const world = await openTwoModels()
  const images = await world.upload(2)
  await world.send(images)
  // Its queue takes nothing more, and it is never heard of again.
  const dying = world.startChat({
    queueOfRole: () => ({ ...world.groundingQueue, send: async () => await new Promise<never>(() => {}) }),
    mode: 'service',
  })
  await dying.pass(() => dying.of('part').length > 0)
  expect(brief(await world.sealed()).map(([task]) => task)).toEqual(['caption', 'caption'])
  dying.stop()
  await dying.end()
  await world.startChat().end()
  await world.startGrounding().end()
  expect(brief(await world.sealed())).toHaveLength(4)
  expect((await world.sealed()).every(({ status }) => status === 'ok')).toBe(true)
})

test('fails what comes after a failure, and repairs it with the failure', async () => {
  let isBroken = true
  const chat = openCountingEngine({ answer: (request) => (isBroken ? ' ' : says(caption)(request)) })
  const world = await openTwoModels({ chat })
  const images = await world.upload(1)
  await world.send(images)
  await world.startChat().end()
  const failed = await world.sealed()
  expect(brief(failed)).toEqual([
    ['caption', 0, 'answer-empty', 'c0'],
    ['ground', 0, 'task-upstream-failed', '9d'],
  ])
  expect(failed.find(({ task }) => task === 'ground')?.error?.message).toMatch(
    /^caption, .* failed: answer-empty/,
  )
  expect(await world.groundingQueue.stats()).toEqual(empty)
  isBroken = false
  await world.send(images)
  await world.startChat().end()
  await world.startGrounding().end()
  const repaired = await world.sealed()
  expect(brief(repaired).map(([, , state]) => state)).toEqual(['ok', 'ok'])
  expect(repaired.map(({ recordId }) => recordId).toSorted()).toEqual(
    failed.map(({ recordId }) => recordId).toSorted(),
  )
})

test('fails both stages of an image that cannot be read, and sends nothing on', async () => {
  const world = await openTwoModels()
  await world.bucket.putIfAbsent('bad.png', Buffer.from('no image'))
  await world.send([{ bucket: testBucket, key: 'bad.png' }])
  await world.startChat().end()
  expect(brief(await world.sealed()).map(([task, , state]) => [task, state])).toEqual([
    ['caption', 'image-format-unsupported'],
    ['ground', 'image-format-unsupported'],
  ])
  expect(await world.groundingQueue.stats()).toEqual(empty)
})

test('sends on what comes after nothing too, and only what the message asks for', async () => {
  const world = await openTwoModels({ phrases: ['the dog'] })
  const images = await world.upload(2)
  await world.send(images.slice(0, 1))
  await world.send(images.slice(1), 1, ['ground'])
  await world.startChat().end()
  await world.startGrounding().end()
  expect(brief(await world.sealed())).toEqual([
    ['caption', 0, 'ok', 'c0'],
    ['ground', 0, 'ok', '9d'],
    ['ground', 0, 'ok', '9d'],
    ['ground', 1, 'ok', '9d'],
    ['ground', 1, 'ok', '9d'],
  ])
})

test('does not look for things in a caption of other bytes', async () => {
  const world = await openTwoModels()
  const images = await world.upload(1)
  await world.send(images)
  await world.startChat().end()
  const bytes = new Uint8Array(numberedPng(77))
  const changed: ObjectStore = {
    ...world.bucket,
    getWithin: async (key) => ({ key, bytes, sizeBytes: bytes.length }),
  }
  await world.startGrounding({ sourceOf: () => changed }).end()
  const ground = (await world.sealed()).find(({ task }) => task === 'ground')
  expect(ground?.error).toMatchObject({
    code: 'task-upstream-failed',
    message: expect.stringContaining('overwritten') as string,
  })
  expect(world.grounding.counts.images).toBe(0)
})

test('does not send on what is longer than a message may carry', async () => {
  const long = `A dog${' and a dog'.repeat(maxUpstreamChars / 10)}.`
  const world = await openTwoModels({ chat: openCountingEngine({ answer: says(long) }) })
  await world.send(await world.upload(1))
  await world.startChat().end()
  expect(brief(await world.sealed()).map(([task, , state]) => [task, state])).toEqual([
    ['caption', 'ok'],
    ['ground', 'task-upstream-failed'],
  ])
})

test('keeps messages within their limits when every output is as long as it may be', async () => {
  // Control characters are six bytes each in JSON.
  const long = `A dog \u0001${'\u0001'.repeat(1200)}.`
  const world = await openTwoModels({ chat: openCountingEngine({ answer: says(long) }) })
  await world.send(await world.upload(30))
  await world.startChat().end()
  const messages = await world.groundingQueue.receive({ max: 10, waitMs: 0, leaseMs: 1000 })
  const events = messages.map(({ body }) => readQueueBody(body))
  expect(events.map(({ kind }) => kind)).toEqual(events.map(() => 'work'))
  expect(events.flatMap((event) => (event.kind === 'work' ? event.items : []))).toHaveLength(30)
})

test('leaves to the dead letters what it has neither the model nor a queue for', async () => {
  const world = await openTwoModels()
  await world.send(await world.upload(1))
  const alone = world.startChat({ queueOfRole: () => null, limits: { idleExitMs: 300_000 } })
  await alone.pass(() => alone.of('released').length > 0)
  expect(alone.of('released')[0]).toMatchObject({ reason: 'no-role-queue', runId: world.runId })
  alone.stop()
  await alone.end()
  const misled = world.startGrounding({ queue: world.queue })
  await misled.pass(() => misled.of('released').length > 0)
  expect(misled.of('released')[0]?.reason).toBe('other-model')
  misled.stop()
  await misled.end()
  expect([world.chat.counts.images, world.grounding.counts.images]).toEqual([0, 0])
})

test('splits a suspect of the second stage without losing what it carries', async () => {
  const world = await openTwoModels()
  await world.send(await world.upload(4))
  await world.startChat().end()
  for (let times = 0; times < 2; times += 1) {
    const [taken] = await world.groundingQueue.receive({ max: 10, waitMs: 0, leaseMs: 1000 })
    await world.groundingQueue.release([taken!.lease], 0)
  }
  const worker = world.startGrounding()
  await worker.end()
  expect(worker.of('split').map(({ into }) => into)).toEqual([4])
  expect(
    brief(await world.sealed()).filter(([task, , state]) => task === 'ground' && state === 'ok'),
  ).toHaveLength(4)
})

test('fails what would make the outputs of one image too long for a message, by name', () => {
  const text = (character: string, count: number) => ({
    ok: true as const,
    output: { text: character.repeat(count) },
  })
  const unit = (after: string, ordinal: number) => ({
    spec: {
      task: 'ground',
      taskVersion: 1,
      ordinal,
      template: 'chat' as const,
      maxNewTokens: 8,
      prompts: [{ question: '{phrase}' }],
      role: 'grounding' as const,
      after,
    },
    specHash: 'a',
    recordId: 'b',
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 1 },
  })
  const units = [unit('caption', 0), unit('detailed-caption', 1)].map((one) => ({
    unit: one,
    takes: [one.spec.after],
    to: { role: 'grounding' as const, stage: 1 },
  }))
  const outcome = (first: ReturnType<typeof text>, second: ReturnType<typeof text>) => {
    const said = new Map([
      ['caption', first],
      ['detailed-caption', second],
    ])
    const { forwards, failed } = forwardUnits(units, said)
    expect(utf8Bytes(messageText(forwards[0]?.upstream ?? {}))).toBeLessThanOrEqual(maxUpstreamBytes)
    return [Object.keys(forwards[0]?.upstream ?? {}), failed.map(({ failure }) => failure.code)]
  }
  expect(outcome(text('x', 7000), text('y', 7000))).toEqual([['caption', 'detailed-caption'], []])
  expect(outcome(text('漢', 7000), text('y', 7000))).toEqual([['caption'], ['task-upstream-failed']])
  expect(outcome(text('\uffff', 7000), text('y', 7000))).toEqual([
    ['detailed-caption'],
    ['task-upstream-failed'],
  ])
})

describe('a graph of four tasks: a caption, things in it, their boxes, and what those are like', () => {
  const things = TaskDefinition.parse({
    name: 'things',
    prompt: 'List what is in "{{prev.caption.text}}".',
    answer: { kind: 'json', schema: { type: 'array', items: { type: 'string' } } },
  })
  const mood = (role?: 'grounding') =>
    TaskDefinition.parse({
      name: 'mood',
      prompt: 'Is {{prev.ground.text}} calm, in "{{prev.things.value.1}}"?',
      ...(role === undefined ? {} : { role }),
    })
  const answers =
    (list: string) =>
    ({ question }: { question: string }) => {
      if (question.startsWith('Describe')) return caption
      if (question.startsWith('List')) return list
      return question.startsWith('Is ') ? 'Calm.' : undefined
    }
  const inOrder = ['caption', 'ground', 'mood', 'things']
  const moodPrompt = expect.stringContaining('Is a dog, a cat calm, in "a cat"?') as string

  test('is asked round after round in one session, whatever order it is written in', async () => {
    const engine = openCountingEngine({ answer: answers('["a dog", "a cat"]') })
    const world = await openTestWorld({ engine, from: 'things', definitions: [mood(), things] })
    await world.send(await world.upload(2))
    await world.start().end()
    const records = await world.sealed()
    expect(brief(records)).toEqual(inOrder.flatMap((task) => [0, 1].map(() => [task, 0, 'ok', 'c0'])))
    expect([engine.counts.images, engine.counts.prompts]).toEqual([2, 10])
    expect(records.find(({ task }) => task === 'mood')).toMatchObject({
      inputs: { ground: { text: 'a dog, a cat' }, things: { value: ['a dog', 'a cat'] } },
      prompt: { text: moodPrompt },
    })
  })

  test('goes on at the second model where that begins, with what it needs there and no more', async () => {
    const world = await openTwoModels({
      chat: openCountingEngine({ answer: answers('["a dog", "a cat"]') }),
      grounding: openCountingEngine({ digest: groundingDigest, answer: answers('') }),
      from: 'things',
      definitions: [mood('grounding'), things],
    })
    await world.send(await world.upload(2))
    await world.startChat().end()
    const [message] = await world.groundingQueue.receive({ max: 1, waitMs: 0, leaseMs: 1 })
    const read = readQueueBody(message!.body)
    const brought =
      read.kind === 'work' ? read.items.map(({ upstream }) => Object.keys(upstream ?? {})) : null
    expect(brought).toEqual([['things'], ['things']])
    world.clock.advance(1000)
    await world.startGrounding().end()
    const digests = { caption: 'c0', things: 'c0', ground: '9d', mood: '9d' }
    const records = await world.sealed()
    expect(brief(records)).toEqual(
      inOrder.flatMap((task) => [0, 1].map(() => [task, 0, 'ok', digests[task as keyof typeof digests]])),
    )
    expect(world.chat.counts.prompts + world.grounding.counts.prompts).toBe(10)
    expect(records.find(({ task }) => task === 'mood')?.prompt).toMatchObject({ text: moodPrompt })
  })

  test.each(['one model', 'two models'])(
    'fails from the task on that failed, with its cause: %s',
    async (models) => {
      const chat = openCountingEngine({ answer: answers('no list') })
      const isTwo = models === 'two models'
      const definitions = [mood(isTwo ? 'grounding' : undefined), things]
      const open = isTwo
        ? await openTwoModels({ chat, from: 'things', definitions })
        : await openTestWorld({ engine: chat, from: 'things', definitions })
      await open.send(await open.upload(1))
      await open.start({ queueOfRole: () => ('groundingQueue' in open ? open.groundingQueue : null) }).end()
      const records = await open.sealed()
      expect(brief(records).map(([task, , state]) => [task, state])).toEqual([
        ['caption', 'ok'],
        ['ground', 'task-upstream-failed'],
        ['mood', 'task-upstream-failed'],
        ['things', 'answer-unparsable'],
      ])
      for (const task of ['ground', 'mood'])
        expect(records.find((record) => record.task === task)?.error?.message).toMatch(
          /things, which this comes after, failed: answer-unparsable: (?!.*answer-unparsable)/,
        )
    },
  )

  test('asks again what is not wanted, where what is wanted needs it, and keeps only that', async () => {
    const engine = openCountingEngine({ answer: answers('["a dog", "a cat"]') })
    const world = await openTestWorld({ engine, from: 'things', definitions: [mood(), things] })
    await world.send(await world.upload(1), 1, ['mood'])
    await world.start().end()
    expect(brief(await world.sealed())).toEqual([['mood', 0, 'ok', 'c0']])
    expect(engine.counts.prompts).toBe(5)
  })
})
