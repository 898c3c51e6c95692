// What is measured: a run of the counting engine, and the messages that ask for its images. It does not know where
// either is kept.
import { z } from 'zod'
import { openRun } from '../../dataset/run-folder.ts'
import { writeWorkMessages } from '../../dataset/events.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { Engine } from '../../gpu-worker/engine/contract.ts'
import type { ImageDecoder } from '../../gpu-worker/image/prepare.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import type { RunConfig, RunSource } from '../../schemas/run-config.ts'

export const Wanted = z.strictObject({
  loop: z.enum(['label', 'worker-25', 'worker-1']),
  ports: z.enum(['folders', 'emulator']),
  images: z.number().int().positive(),
  tasks: z.array(z.string()),
  decoder: z.enum(['here', 'pool']),
})
export type Wanted = z.infer<typeof Wanted>

/** Where a loop puts its files, and what reads its images. */
export type At = { folder: string; decoder: ImageDecoder }

/** A loop that is ready to run: it resolves to the records made durable and to when the last message was done with. */
export type Prepared = { run: () => Promise<{ records: number; endMs: number }>; close: () => Promise<void> }

export async function beginRun(
  store: ObjectStore,
  { source, tasks, engine }: { source: RunSource; tasks: readonly string[]; engine: Engine },
): Promise<RunConfig> {
  const { model, template, capabilities } = engine.info
  const specs = planTasks({
    names: [...tasks],
    questions: [],
    phrases: [],
    model: { name: model.name, template, capabilities },
  })
  const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 }
  return await openRun(store, {
    wanted: { source, model, template, tasks: specs, sampling },
    now: new Date(),
  })
}

export const bucket = 'photos'

/** Our own messages of 25 images, or an event of S3 for each image. */
export function messagesOf(loop: string, keys: readonly string[], runId: string): string[] {
  if (loop === 'worker-1') return keys.map(eventOf)
  return writeWorkMessages(
    keys.map((key) => ({ bucket, key })),
    { runId },
  )
}

function eventOf(key: string): string {
  const object = { key: encodeURIComponent(key).replaceAll('%2F', '/'), size: 10_000, eTag: 'e'.repeat(32) }
  const s3 = { s3SchemaVersion: '1.0', bucket: { name: bucket, arn: `arn:aws:s3:::${bucket}` }, object }
  const eventTime = '2026-01-01T00:00:00.000Z'
  const head = { eventVersion: '2.1', eventSource: 'aws:s3', awsRegion: 'us-east-1', eventTime }
  return JSON.stringify({ Records: [{ ...head, eventName: 'ObjectCreated:Put', s3 }] })
}
