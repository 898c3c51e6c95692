// Dead letters, by what is wrong with them now, and back to the queue those for which trying again makes sense.
// A message is deleted only after it was sent again. It does not know which queue it has.
import { RetryableError, UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { readQueueBody } from './events.ts'
import { maxBatchMessages, type LeasedMessage, type WorkQueue } from './queues/work-queue.ts'
import { readRun } from './run-folder.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** Each with its sentence for people. */
export const deadLetterClasses = {
  'unknown-message': 'the message is none that workers understand',
  'no-run': 'there is no such run; it works once the run is submitted',
  'bad-run': "the run's settings cannot be read",
  'bad-bucket': 'the place does not have the bucket',
  'unknown-task': 'the run lacks a task that the message asks for, or has questions or phrases for',
  'crash': 'one image, delivered alone again and again: it may be what kills workers',
  'try-again':
    'nothing is wrong with it as things stand: stores or workers failed, or the run has come since',
} as const
export type DeadLetterClass = keyof typeof deadLetterClasses

/** What is sent again when nobody says otherwise; a function that nobody watches leaves `crash` where it is. */
export const defaultRedriveClasses: readonly DeadLetterClass[] = ['try-again', 'crash']

/** Deliveries from which on workers handle a message alone; what dies then dies of its one image. */
const isolateFromReceive = 3

export type RunLook =
  | { kind: 'ok'; config: Pick<RunConfig, 'tasks' | 'itemTasks' | 'createdAt'> }
  | { kind: 'none' }
  | { kind: 'bad' }

export type DeadLetterFacts = {
  message: Pick<LeasedMessage, 'body' | 'receiveCount' | 'sentAtMs'>
  lookAtRun: (runId: string) => RunLook
  hasBucket: (bucket: string) => boolean
}

/** The runs that a message is about. */
function runsOf(body: string): string[] {
  const event = readQueueBody(body)
  return event.kind === 'work' ? [...new Set(event.items.map(({ runId }) => runId))] : []
}

/** What is wrong with a dead letter as things stand; the worst of its images decides. Pure. */
export function classifyDeadLetter({ message, lookAtRun, hasBucket }: DeadLetterFacts): DeadLetterClass {
  const event = readQueueBody(message.body)
  if (event.kind === 'test') return 'try-again'
  if (event.kind === 'unknown') return 'unknown-message'
  // A message that is older than its run may have died of that alone.
  let isOlderThanRun = false
  for (const { runId, bucket, tasks = [], questions, phrases } of event.items) {
    const run = lookAtRun(runId)
    if (run.kind === 'none') return 'no-run'
    if (run.kind === 'bad') return 'bad-run'
    if (!hasBucket(bucket)) return 'bad-bucket'
    const known = new Set([...run.config.tasks.map(({ task }) => task), ...(run.config.itemTasks ?? [])])
    if (!tasks.every((task) => known.has(task))) return 'unknown-task'
    // Which task takes which is the workers' to know; a run without such tasks takes neither.
    if ((questions ?? phrases) !== undefined && run.config.itemTasks === undefined) return 'unknown-task'
    isOlderThanRun ||= Date.parse(run.config.createdAt) > message.sentAtMs
  }
  const isAlone = event.items.length === 1 && message.receiveCount >= isolateFromReceive
  return isAlone && !isOlderThanRun ? 'crash' : 'try-again'
}

export type Redrive = {
  deadLetters: WorkQueue
  queueOf: (runId: string) => Pick<WorkQueue, 'send'>
  queue: Pick<WorkQueue, 'send'>
  runStoreOf: (runId: string) => ObjectStore
  /** Throws UserError for a bucket that the place does not have. */
  imagesOf: (bucket: string) => unknown
  /** Sent again; the others stay. */
  classes: ReadonlySet<DeadLetterClass>
  /** Only messages about it. */
  runId?: string | undefined
  stop?: AbortSignal
  limits?: { leaseMs: number; waitMs: number; maxMessages: number }
}

export type RedriveTally = {
  /** All that were looked at, by class. */
  found: Partial<Record<DeadLetterClass, number>>
  sent: Partial<Record<DeadLetterClass, number>>
}

/** Long enough to look at all; what is left when a process dies is visible again after it. */
const defaultLimits = { leaseMs: 5 * 60_000, waitMs: 2000, maxMessages: 100_000 }

/** Looks at every dead letter once. Throws RetryableError when the queue does not take a message; it then stays. */
export async function redriveDeadLetters(options: Redrive): Promise<RedriveTally> {
  const { deadLetters, classes, runId, stop, limits = defaultLimits } = options
  const looks = new Map<string, RunLook>()
  const seen = new Map<string, string>()
  const tally: RedriveTally = { found: {}, sent: {} }
  try {
    while (seen.size < limits.maxMessages && stop?.aborted !== true) {
      const messages = await deadLetters.receive({ max: maxBatchMessages, ...limits })
      if (messages.length === 0) break
      const fresh = messages.filter(({ messageId }) => !seen.has(messageId))
      for (const { messageId, lease } of messages) seen.set(messageId, lease)
      for (const message of fresh) {
        const runs = runsOf(message.body)
        if (runId !== undefined && !runs.includes(runId)) continue
        for (const id of runs) if (!looks.has(id)) looks.set(id, await lookAtRun(options.runStoreOf(id)))
        const found = classify(message, { looks, imagesOf: options.imagesOf })
        tally.found[found] = (tally.found[found] ?? 0) + 1
        if (!classes.has(found)) continue
        await sendAgain(message, runs.length === 1 ? options.queueOf(runs[0] ?? '') : options.queue)
        await deadLetters.ack([message.lease])
        seen.set(message.messageId, '')
        tally.sent[found] = (tally.sent[found] ?? 0) + 1
      }
    }
  } finally {
    await giveBack(
      deadLetters,
      [...seen.values()].filter((lease) => lease !== ''),
    )
  }
  return tally
}

function classify(
  message: LeasedMessage,
  { looks, imagesOf }: { looks: ReadonlyMap<string, RunLook> } & Pick<Redrive, 'imagesOf'>,
): DeadLetterClass {
  return classifyDeadLetter({
    message,
    lookAtRun: (id) => looks.get(id) ?? { kind: 'none' },
    hasBucket(bucket) {
      try {
        imagesOf(bucket)
        return true
      } catch (error) {
        if (error instanceof UserError) return false
        throw error
      }
    },
  })
}

async function lookAtRun(store: ObjectStore): Promise<RunLook> {
  try {
    const config = await readRun(store)
    return config === null ? { kind: 'none' } : { kind: 'ok', config }
  } catch (error) {
    if (error instanceof UserError && error.cause !== undefined) return { kind: 'bad' }
    throw error
  }
}

async function sendAgain({ body }: LeasedMessage, queue: Pick<WorkQueue, 'send'>): Promise<void> {
  const [isTaken] = await queue.send([body])
  if (isTaken !== true)
    throw new RetryableError('the queue did not take a dead letter back; it stays where it was, try again')
}

async function giveBack(queue: WorkQueue, leases: readonly string[]): Promise<void> {
  for (let at = 0; at < leases.length; at += maxBatchMessages)
    await queue.release(leases.slice(at, at + maxBatchMessages), 0)
}
