// The ports of a storm's processes, over folders or over the SDK and an emulator, opened from what fits on a command
// line. It does not know what goes wrong.
import { join } from 'node:path'
import { systemClock } from '../../dataset/queues/clock.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { openSqsQueue } from '../../dataset/queues/sqs.ts'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import type { TaskRole } from '../../schemas/task-spec.ts'
import { type CountingEngine, openCountingEngine } from '../helpers/counting-engine.ts'

export type PortsSpec =
  | { kind: 'folder'; folder: string }
  | {
      kind: 'emulator'
      endpoint: string
      region: string
      credentials: { accessKeyId: string; secretAccessKey: string }
      queueUrl: string
      groundingQueueUrl: string
      deadLettersUrl: string
    }

export type Ports = {
  queue: WorkQueue
  /** Of the workers that have the second model. */
  groundingQueue: WorkQueue
  deadLetters: WorkQueue
  sourceOf: (bucket: string) => ObjectStore
  runStoreOf: (runId: string) => ObjectStore
}

export const imageBucket = 'photos'
export const labelsBucket = 'labels'

/** So many that only a message nobody can work on gets there: in a storm a good one loses many workers. */
export const maxReceives = 60

export function openPorts(spec: PortsSpec, clock = systemClock): Ports {
  if (spec.kind === 'folder') {
    const deadLetterFolder = join(spec.folder, 'dead-letters')
    const limits = { clock, maxReceives, deadLetterFolder }
    return {
      queue: openFolderQueue(join(spec.folder, 'queue'), limits),
      groundingQueue: openFolderQueue(join(spec.folder, 'grounding'), limits),
      deadLetters: openFolderQueue(deadLetterFolder, { clock }),
      sourceOf: (bucket) => openFsStore(join(spec.folder, 'buckets', bucket)),
      runStoreOf: (runId) => openFsStore(join(spec.folder, 'labels', 'runs', runId)),
    }
  }
  const { kind: _kind, queueUrl, groundingQueueUrl, deadLettersUrl, ...connection } = spec
  const s3 = { ...connection, forcePathStyle: true }
  return {
    queue: openSqsQueue({ queueUrl, ...connection }),
    groundingQueue: openSqsQueue({ queueUrl: groundingQueueUrl, ...connection }),
    deadLetters: openSqsQueue({ queueUrl: deadLettersUrl, ...connection }),
    sourceOf: (bucket) => openS3Store({ bucket, ...s3 }),
    runStoreOf: (runId) => openS3Store({ bucket: labelsBucket, prefix: `runs/${runId}/`, ...s3 }),
  }
}

/** The engines of a storm: one of each model, of which the second finds what the first names, and is asked about after. */
export function openStormEngine(role: TaskRole, delayMs = 0): CountingEngine {
  return openCountingEngine({
    delayMs,
    digest: (role === 'chat' ? 'c0' : '9d').repeat(32),
    answer: ({ question }) => {
      if (question.startsWith('Describe')) return 'A dog and a cat.'
      return question.startsWith('Is a') ? 'Very calm.' : undefined
    },
  })
}
