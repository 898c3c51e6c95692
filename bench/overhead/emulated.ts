// The cloud worker's loop through the AWS SDK and the emulator, which runs beside it in a process of its own.
import { openSqsQueue } from '../../dataset/queues/sqs.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { openCountingEngine } from '../../tests/helpers/counting-engine.ts'
import { startEmulatorProcess } from './emulator-process.ts'
import { makePhotos, photoKeys } from './images.ts'
import { type At, beginRun, bucket, messagesOf, type Prepared, type Wanted } from './run.ts'
import { drain, sendAll } from './worker.ts'

export async function prepareEmulated(
  { loop, images, tasks }: Wanted,
  { decoder }: Pick<At, 'decoder'>,
): Promise<Prepared> {
  const emulator = await startEmulatorProcess()
  const { queueUrl, ...connection } = emulator.connection
  const open = (name: string, prefix = '') =>
    openS3Store({ bucket: name, prefix, ...connection, forcePathStyle: true })
  const [photos, store, queue] = [
    open(bucket),
    open('labels', 'run/'),
    openSqsQueue({ queueUrl, ...connection }),
  ]
  const engine = openCountingEngine()
  const { runId } = await beginRun(store, { source: { kind: 'folder', uri: photos.uri }, tasks, engine })
  const keys = photoKeys(images, `incoming/${runId}/`)
  const bytes = await makePhotos(images)
  for (let from = 0; from < keys.length; from += 16)
    await Promise.all(
      keys.slice(from, from + 16).map(async (key, n) => {
        await photos.putIfAbsent(key, bytes[(from + n) % bytes.length] ?? Buffer.of())
      }),
    )
  await sendAll(queue, messagesOf(loop, keys, runId))
  return {
    run: async () => await drain({ queue, photos, store, engine, decoder }),
    async close() {
      for (const port of [photos, store, queue]) port.close()
      await emulator.close()
    },
  }
}
