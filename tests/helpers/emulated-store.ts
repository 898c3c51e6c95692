// An S3 store over the emulator, for as long as a test lasts.
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { onTestFinished } from 'vitest'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import type { FaultPlan } from '../../emulator/faults.ts'

export async function openEmulated({ prefix = '', faults }: { prefix?: string; faults?: FaultPlan } = {}) {
  const emulator = await startEmulator()
  const { endpoint, region, credentials } = emulator
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: 'labels' }))
  const options = { bucket: 'labels', prefix, endpoint, region, credentials, forcePathStyle: true }
  const store = openS3Store(options)
  if (faults !== undefined) emulator.setFaults(faults)
  onTestFinished(async () => {
    store.close()
    client.destroy()
    await emulator.close()
  })
  return { store, emulator, client, options }
}
