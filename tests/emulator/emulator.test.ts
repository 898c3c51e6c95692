// What only the emulator has: faults on plan, time under control, events from a bucket to a queue.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetBucketNotificationConfigurationCommand,
  GetObjectCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { CreateQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { manualClock } from '../helpers/manual-clock.ts'
import { type Answered, startEmulator } from '../../emulator/emulator.ts'
import { seededFaults, type FaultTarget } from '../../emulator/faults.ts'
import { checksumOf, decodeChunked } from '../../emulator/payload.ts'
import { parseXml, writeXml } from '../../emulator/xml.ts'

const Bucket = 'images'

async function open(onAnswer: (answered: Answered) => void = () => {}) {
  const clock = manualClock(Date.UTC(2026, 0, 1))
  const emulator = await startEmulator({ clock, onAnswer })
  const { endpoint, region, credentials } = emulator
  const s3 = new S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 1 })
  const sqs = new SQSClient({ endpoint, region, credentials, maxAttempts: 1 })
  onTestFinished(async () => {
    s3.destroy()
    sqs.destroy()
    await emulator.close()
  })
  await s3.send(new CreateBucketCommand({ Bucket }))
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'events' }))
  const receive = async () => {
    const more = { MaxNumberOfMessages: 10, VisibilityTimeout: 60 }
    const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, ...more }))
    return Messages.map(({ Body }) => JSON.parse(Body!))
  }
  const subscribe = async (Prefix = '') => {
    const QueueConfiguration = {
      QueueArn: 'arn:aws:sqs:us-east-1:000000000000:events',
      Events: ['s3:ObjectCreated:*' as const],
      Filter: { Key: { FilterRules: [{ Name: 'prefix' as const, Value: Prefix }] } },
    }
    const NotificationConfiguration = { QueueConfigurations: [QueueConfiguration] }
    await s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }))
  }
  const put = async (Key: string, IfNoneMatch?: string) =>
    await s3.send(
      new PutObjectCommand({
        Bucket,
        Key,
        Body: 'bytes',
        ...(IfNoneMatch === undefined ? {} : { IfNoneMatch }),
      }),
    )
  return { emulator, clock, s3, sqs, QueueUrl: QueueUrl!, receive, subscribe, put }
}

describe('events', () => {
  test('come after a test event, with the key form-url-encoded, for keys the rule names', async () => {
    const { s3, receive, subscribe, put } = await open()
    await subscribe('in/')
    expect(await receive()).toMatchObject([{ Event: 's3:TestEvent', Bucket }])
    await put('in/a b+é(1).jpg')
    await put('elsewhere.jpg')
    await s3.send(new DeleteObjectCommand({ Bucket, Key: 'in/a b+é(1).jpg' }))
    const [event, ...others] = await receive()
    expect(others).toEqual([])
    expect(event.Records).toMatchObject([
      {
        eventName: 'ObjectCreated:Put',
        eventTime: '2026-01-01T00:00:00.000Z',
        s3: { bucket: { name: Bucket }, object: { key: 'in/a+b%2B%C3%A9%281%29.jpg', size: 5 } },
      },
    ])
    const found = await s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }))
    expect(found.QueueConfigurations![0]!.Events).toEqual(['s3:ObjectCreated:*'])
  })

  test('carry a sequencer that grows', async () => {
    const { receive, subscribe, put } = await open()
    await subscribe()
    for (let time = 0; time < 3; time += 1) await put('same')
    const events = (await receive()).slice(1)
    const sequencers = events.map(({ Records }) => String(Records[0].s3.object.sequencer))
    expect(sequencers).toEqual([...new Set(sequencers)].toSorted())
  })

  test('come late, more than once and out of order when the plan says so', async () => {
    const { emulator, clock, receive, subscribe, put } = await open()
    await subscribe()
    await receive()
    const delays = [[0, 5000, 9000], [1000]]
    emulator.setFaults(({ service }) => (service === 'event' ? { deliverAfterMs: delays.shift()! } : {}))
    await put('first')
    await put('second')
    const keys = async () => (await receive()).map(({ Records }) => String(Records[0].s3.object.key))
    expect(await keys()).toEqual(['first'])
    clock.advance(4000)
    expect(await keys()).toEqual(['second'])
    clock.advance(5000)
    expect(await keys()).toEqual(['first', 'first'])
  })
})

describe('a deployment', () => {
  test('is there at once: events of its bucket reach its queue, and from there its dead letters', async () => {
    const answered: string[] = []
    const { emulator, clock, s3, sqs } = await open((call) =>
      answered.push(`${call.operation} ${call.status}`),
    )
    const { queueUrl, deadLettersUrl } = emulator.provision({
      buckets: ['in', 'out'],
      queue: 'work',
      deadLetters: 'dead',
      maxReceives: 1,
      events: { bucket: 'in', prefix: 'incoming/' },
    })
    const receive = async (QueueUrl: string) => {
      const more = { MaxNumberOfMessages: 10, VisibilityTimeout: 60 }
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, ...more }))
      return Messages.map(({ Body }) => JSON.parse(Body!))
    }
    for (const Key of ['incoming/a', 'b']) {
      await s3.send(new PutObjectCommand({ Bucket: 'in', Key, Body: 'x' }))
      await s3.send(new PutObjectCommand({ Bucket: 'out', Key: `incoming/${Key}`, Body: 'x' }))
    }
    const messages = await receive(queueUrl)
    expect(messages).toMatchObject([
      { Event: 's3:TestEvent' },
      { Records: [{ s3: { bucket: { name: 'in' }, object: { key: 'incoming/a' } } }] },
    ])
    clock.advance(60_000)
    expect(await receive(queueUrl)).toEqual([])
    expect(await receive(deadLettersUrl)).toEqual(messages)
    expect(new Set(answered)).toEqual(
      new Set(['CreateBucket 200', 'CreateQueue 200', 'PutObject 200', 'ReceiveMessage 200']),
    )
  })
})

describe('faults', () => {
  test('lose an answer after the work is done', async () => {
    const { emulator, put, s3 } = await open()
    emulator.setFaults(({ operation }) => ({ loseResponse: operation === 'PutObject' }))
    await expect(put('k', '*')).rejects.toThrow()
    emulator.setFaults(() => ({}))
    await expect(put('k', '*')).rejects.toMatchObject({ name: 'PreconditionFailed' })
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: 'k' }))
    expect(await Body!.transformToString()).toBe('bytes')
  })

  test.each([
    [409, 'ConditionalRequestConflict'],
    [500, 'InternalError'],
    [503, 'SlowDown'],
  ])('refuse with %i %s and do nothing', async (status, code) => {
    const { emulator, put, s3 } = await open()
    emulator.setFaults(() => ({ refuseWith: { status, code } }))
    await expect(put('k')).rejects.toMatchObject({ name: code, $metadata: { httpStatusCode: status } })
    emulator.setFaults(() => ({}))
    await expect(s3.send(new GetObjectCommand({ Bucket, Key: 'k' }))).rejects.toMatchObject({
      name: 'NoSuchKey',
    })
  })

  test('deliver twice and out of order', async () => {
    const { emulator, sqs, QueueUrl, receive } = await open()
    for (const body of [1, 2, 3])
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: String(body) }))
    emulator.setFaults(() => ({ duplicate: true, reorder: true }))
    expect(await receive()).toEqual([3, 2, 1])
    emulator.setFaults(() => ({}))
    expect(await receive()).toEqual([1, 2, 3])
    expect(await receive()).toEqual([])
  })

  test('wait by the clock', async () => {
    const { emulator, clock, put } = await open()
    emulator.setFaults(() => ({ delayMs: 60_000 }))
    let isDone = false
    const slow = put('k').then(() => (isDone = true))
    // On its way until the emulator has counted it; then it sleeps.
    while (emulator.counts.get('PutObject') !== 1) await sleep(10)
    await sleep(100)
    expect(isDone).toBe(false)
    clock.advance(60_000)
    await slow
    expect(emulator.counts.get('PutObject')).toBe(1)
  })

  test('are the same for the same seed, and about as many as asked for', () => {
    const rates = { refuse: 0.1, loseResponse: 0.05 }
    const target = (sequence: number): FaultTarget => {
      return { service: 's3', operation: 'PutObject', name: 'b', key: 'k', sequence }
    }
    const run = (seed: number) => {
      const plan = seededFaults({ seed, rates })
      return Array.from({ length: 2000 }, (_, sequence) => plan(target(sequence)))
    }
    expect(JSON.stringify(run(1))).toBe(JSON.stringify(run(1)))
    expect(JSON.stringify(run(1))).not.toBe(JSON.stringify(run(2)))
    const refused = run(1).filter(({ refuseWith }) => refuseWith !== undefined).length
    expect(refused).toBeGreaterThan(150)
    expect(refused).toBeLessThan(250)
  })
})

describe('wire', () => {
  test('undoes aws-chunked framing and refuses what is torn', () => {
    const framed = Buffer.from(
      '5\r\nhello\r\n6;chunk-signature=x\r\n world\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n',
    )
    expect(decodeChunked(framed)).toEqual({
      bytes: Buffer.from('hello world'),
      trailers: { 'x-amz-checksum-crc32': 'AA==' },
    })
    for (const torn of ['', 'zz\r\n', '5\r\nhel', '5\r\nhello\r\n'])
      expect(() => decodeChunked(Buffer.from(torn))).toThrow(/chunk/)
  })

  test('computes the checksums of the standard test string', () => {
    const bytes = Buffer.from('123456789')
    expect(checksumOf('crc32', bytes)).toBe(Buffer.from('cbf43926', 'hex').toString('base64'))
    expect(checksumOf('crc32c', bytes)).toBe(Buffer.from('e3069283', 'hex').toString('base64'))
    expect(checksumOf('crc64nvme', bytes)).toBe(Buffer.from('ae8b14860a799888', 'hex').toString('base64'))
  })

  test('writes XML that it reads back, and refuses what is not nested', () => {
    const text = writeXml('A', { B: ['<&>"', 'x\u0001y'], C: { D: 1, E: undefined } })
    const root = parseXml(text)
    expect(root.children.map(({ name, text: inner }) => [name, inner])).toEqual([
      ['B', '<&>"'],
      ['B', 'x\u0001y'],
      ['C', ''],
    ])
    for (const broken of ['', '<a>', '<a></b>', '</a>']) expect(() => parseXml(broken)).toThrow(/well-formed/)
  })
})
