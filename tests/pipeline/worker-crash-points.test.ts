// A worker that dies at each call of its ports in turn, before the call has its effect or after: whoever comes next
// brings every record once, and no message is left. Storms roll dice for the same (tests/chaos); this leaves none out.
import { setTimeout as realSleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import type { TaskRole } from '../../schemas/task-spec.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { openTestWorld, testBucket } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }

const answer = ({ question }: { question: string }) => {
  if (question.startsWith('Describe')) return 'A dog and a cat.'
  return question.startsWith('Is a') ? 'Very calm.' : undefined
}
/** caption (chat), ground (grounding, of the caption), mood (chat, of both). */
const mood = TaskDefinition.parse({
  name: 'mood',
  prompt: 'Is {{prev.ground.text}} calm, as in "{{prev.caption.text}}"?',
})

type World = Awaited<ReturnType<typeof openTestWorld>>
type Kind = { options: Parameters<typeof openTestWorld>[0]; roles: readonly TaskRole[]; tasks: number }

const engineOf = (role: TaskRole) =>
  openCountingEngine({ answer, digest: (role === 'chat' ? 'c0' : '9d').repeat(32) })
const two = {
  engine: engineOf('chat'),
  grounding: engineOf('grounding'),
  from: 'caption',
  definitions: [mood],
}

const kinds: Readonly<Record<string, Kind>> = {
  'one model': { options: {}, roles: ['chat'], tasks: 1 },
  'claims, equal bytes once': {
    options: { claims: 'on', input: { dedupe: 'exact' } },
    roles: ['chat'],
    tasks: 1,
  },
  'two models': { options: two, roles: ['chat', 'grounding', 'chat'], tasks: 3 },
  'two models, claims': { options: { ...two, claims: 'on' }, roles: ['chat', 'grounding', 'chat'], tasks: 3 },
}

/** Ports of one process: all of them stop at its last call. */
function startDying(calls: number, hasEffect: boolean) {
  const died = Promise.withResolvers<void>()
  let left = calls
  const never = new Promise<never>(() => {})
  const over = <T extends object>(port: T): T =>
    new Proxy(port, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]): Promise<unknown> => {
          left -= 1
          if (left < 0 || (left === 0 && !hasEffect)) {
            died.resolve()
            return await never
          }
          // The target's own function with its own arguments.
          const result: unknown = await Reflect.apply(value, target, args)
          if (left > 0) return result
          died.resolve()
          return await never
        }
      },
    })
  return { over, died: died.promise }
}

const limits = { idleExitMs: 5000, receiveWaitMs: 1000, partAgeMs: 1000, imagesPerPart: 2 }

/** Starts a worker of a role; its ports may be those of a process that dies. */
function start(world: World, role: TaskRole, over: <T extends object>(port: T) => T = (port) => port) {
  const queues: Record<TaskRole, WorkQueue> = {
    chat: over(world.queue),
    grounding: over(world.groundingQueue),
  }
  const [bucket, store] = [over(world.bucket), over(world.store)]
  return world.start({
    engine: engineOf(role),
    queue: queues[role],
    queueOfRole: (other) => queues[other],
    sourceOf: () => bucket,
    runStoreOf: () => store,
    limits,
  })
}

/** Workers of all roles by turns, until nothing waits. */
async function drain(world: World, roles: readonly TaskRole[]): Promise<void> {
  for (let turn = 0; turn < 3 * roles.length; turn += 1)
    await start(world, roles[turn % roles.length] ?? 'chat').end()
}

async function openKind({ options }: Kind) {
  const world = await openTestWorld(options)
  const keys = options?.input === undefined ? ['a', 'b'] : ['a', 'b', 'copy of a']
  const images = keys.map((key, n) => ({ bucket: testBucket, key: `${key}.png`, etag: `e${n}` }))
  for (const [n, { key }] of images.entries()) await world.bucket.putIfAbsent(key, numberedPng(n % 2))
  await world.send(images, 2)
  // One event comes again.
  await world.send(images.slice(0, 1), 1)
  return { world, images }
}

/** Lets the worker of one turn die; false when it came to its end before. */
async function dieAt(
  world: World,
  {
    roles,
    turn,
    calls,
    hasEffect,
  }: { roles: readonly TaskRole[]; turn: number; calls: number; hasEffect: boolean },
): Promise<boolean> {
  for (const role of roles.slice(0, turn)) await start(world, role).end()
  const dying = startDying(calls, hasEffect)
  const worker = start(world, roles[turn] ?? 'chat', dying.over)
  let isDead = false
  void dying.died.then(() => (isDead = true))
  await worker.pass(() => isDead)
  // What it would still do has no effect on anybody.
  await realSleep(1)
  return isDead
}

test.each(Object.keys(kinds))(
  'a worker that dies at any call costs nothing: %s',
  async (name) => {
    const kind = kinds[name]!
    let deaths = 0
    for (let turn = 0; turn < kind.roles.length; turn += 1)
      for (let step = 2, isOver = false; !isOver; step += 1) {
        const [calls, hasEffect] = [Math.floor(step / 2), step % 2 === 1]
        const { world, images } = await openKind(kind)
        const didDie = await dieAt(world, { roles: kind.roles, turn, calls, hasEffect })
        isOver = !didDie
        deaths += didDie ? 1 : 0
        world.clock.advance(400_000)
        await drain(world, kind.roles)
        const where = `turn ${turn}, call ${calls}, ${hasEffect ? 'after' : 'before'} its effect`
        const records = await world.sealed()
        const made = records.map(({ source, task, status }) => `${source.key} ${task} ${status}`).toSorted()
        expect(new Set(made).size, where).toBe(made.length)
        expect(records.length, where).toBe(images.length * kind.tasks)
        expect(
          records.filter(({ status }) => status === 'failed'),
          where,
        ).toEqual([])
        const queues = [world.queue, world.groundingQueue, world.dead]
        expect(await Promise.all(queues.map(async (queue) => await queue.stats())), where).toEqual([
          empty,
          empty,
          empty,
        ])
      }
    expect(deaths).toBeGreaterThan(20)
  },
  120_000,
)
