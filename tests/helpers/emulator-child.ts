// The emulator as a process of its own, with a bucket for images, one for labels and a queue; it lives until its
// standard input ends. Prints one JSON line: what a client needs to connect.
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs'
import { startEmulator } from '../../emulator/emulator.ts'

const emulator = await startEmulator()
const { endpoint, region, credentials } = emulator
const s3 = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
const sqs = new SQSClient({ endpoint, region, credentials })
for (const Bucket of ['photos', 'labels']) await s3.send(new CreateBucketCommand({ Bucket }))
const Attributes = { VisibilityTimeout: '300' }
const { QueueUrl: queueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'work', Attributes }))
console.log(JSON.stringify({ endpoint, region, credentials, queueUrl }))

for await (const _ of process.stdin) continue
s3.destroy()
sqs.destroy()
await emulator.close()
