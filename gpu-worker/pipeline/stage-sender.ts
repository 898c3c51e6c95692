// Sending images on to the workers of another role. It does not know what those do.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { writeWorkMessages } from '../../dataset/events.ts'
import { maxBatchMessages, type WorkQueue } from '../../dataset/queues/work-queue.ts'
import { RetryableError } from '../../schemas/errors.ts'
import type { TaskRole } from '../../schemas/task-spec.ts'
import type { WorkImage, WorkMessage } from '../../schemas/work-message.ts'

/** The queue of a role's workers, or null where there is none. */
export type QueueOfRole = (role: TaskRole) => WorkQueue | null

export type StageSender = {
  /** Resolves when the queue has taken it; images of one part share messages. Throws what sending throws. */
  send(image: WorkImage, to: StageAddress): Promise<void>
}

export type StageAddress = Pick<WorkMessage, 'runId' | 'tasks' | 'stage'> & { role: TaskRole }

type Waiting = { image: WorkImage; to: StageAddress; done: PromiseWithResolvers<void> }

/** Starts with nothing to send. */
export function openStageSender(queueOfRole: QueueOfRole): StageSender {
  let waiting: Waiting[] = []
  return {
    async send(image, to) {
      const done = Promise.withResolvers<void>()
      waiting.push({ image, to, done })
      if (waiting.length === 1) void flush()
      await done.promise
    },
  }

  /** The images of one part settle in the same turn of the event loop, so waiting for the next one gathers them. */
  async function flush(): Promise<void> {
    await nextTurn()
    const taken = waiting
    waiting = []
    for (const group of Map.groupBy(taken, ({ to }) => JSON.stringify(to)).values()) {
      const sent = sendGroup(group, queueOfRole)
      await sent.then(
        () => group.forEach(({ done }) => done.resolve()),
        (error: unknown) => group.forEach(({ done }) => done.reject(error)),
      )
    }
  }
}

async function sendGroup(group: readonly Waiting[], queueOfRole: QueueOfRole): Promise<void> {
  const [first] = group
  if (first === undefined) return
  const queue = queueOfRole(first.to.role)
  if (queue === null) throw new RetryableError(`no queue is known for the role ${first.to.role}`)
  const bodies = writeWorkMessages(
    group.map(({ image }) => image),
    first.to,
  )
  await sendOrThrow(queue, bodies)
}

/** Sends any number of bodies. Throws RetryableError when the queue does not take one; some may be sent by then. */
export async function sendOrThrow(queue: WorkQueue, bodies: readonly string[], delayMs = 0): Promise<void> {
  for (let from = 0; from < bodies.length; from += maxBatchMessages) {
    const taken = await queue.send(bodies.slice(from, from + maxBatchMessages), { delayMs })
    if (!taken.every(Boolean)) throw new RetryableError('the queue did not take every message')
  }
}
