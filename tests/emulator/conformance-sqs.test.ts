// What SQS does, asked through the SDK's own client; clients.ts says over which server.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  ChangeMessageVisibilityBatchCommand,
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type ReceiveMessageCommandInput,
} from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { conforms, covers, failure, openSubject, type Subject } from './clients.ts'

let subject: Subject
beforeAll(async () => {
  subject = await openSubject()
})
afterAll(async () => await subject.close())

describe.runIf(covers('sqs'))('SQS', () => {
  async function newQueue(Attributes: Record<string, string> = {}): Promise<string> {
    const QueueName = `conformance-${randomUUID()}`
    const { QueueUrl } = await subject.sqs.send(new CreateQueueCommand({ QueueName, Attributes }))
    return QueueUrl!
  }
  const send = async (QueueUrl: string, MessageBody: string, more: object = {}) =>
    await subject.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody, ...more }))
  const receive = async (QueueUrl: string, more: Partial<ReceiveMessageCommandInput> = {}) => {
    const { Messages = [] } = await subject.sqs.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: 0,
        VisibilityTimeout: 2,
        MessageSystemAttributeNames: ['All'],
        ...more,
      }),
    )
    return Messages
  }
  const counts = async (QueueUrl: string) => {
    const { Attributes = {} } = await subject.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }),
    )
    const states = ['', 'NotVisible', 'Delayed'] as const
    return states.map((state) => Number(Attributes[`ApproximateNumberOfMessages${state}`]))
  }

  conforms('finds queues by name, and says when there is none', async () => {
    const url = await newQueue()
    const found = await subject.sqs.send(new GetQueueUrlCommand({ QueueName: url.split('/').at(-1)! }))
    expect(found.QueueUrl).toBe(url)
    expect(await failure(subject.sqs.send(new GetQueueUrlCommand({ QueueName: 'missing' })))).toMatchObject({
      name: 'QueueDoesNotExist',
      status: 400,
    })
  })

  conforms('delivers bodies unchanged, with id, count and time', async () => {
    const url = await newQueue()
    const before = Date.now()
    const { MessageId } = await send(url, '{"a":"é\\n <&>"}\t\n')
    const [message] = await receive(url)
    expect(message).toMatchObject({ MessageId, Body: '{"a":"é\\n <&>"}\t\n' })
    expect(message!.Attributes!['ApproximateReceiveCount']).toBe('1')
    expect(Math.abs(Number(message!.Attributes!['SentTimestamp']) - before)).toBeLessThan(60_000)
  })

  conforms('takes every character XML 1.0 has, and refuses the others', async () => {
    const url = await newQueue()
    await send(url, '\u{1F600}')
    expect((await receive(url))[0]!.Body).toBe('\u{1F600}')
    expect(await failure(send(url, 'a\u0001b'))).toMatchObject({ name: 'InvalidMessageContents' })
  })

  conforms('hides a message until its visibility runs out, then counts it again', async () => {
    const url = await newQueue()
    await send(url, 'a')
    const [first] = await receive(url)
    expect(await receive(url)).toEqual([])
    expect(await counts(url)).toEqual([0, 1, 0])
    await subject.elapse(2000)
    const [second] = await receive(url)
    expect(second!.MessageId).toBe(first!.MessageId)
    expect(second!.ReceiptHandle).not.toBe(first!.ReceiptHandle)
    expect(second!.Attributes!['ApproximateReceiveCount']).toBe('2')
  })

  conforms('deletes for good, one by one and in batches, also twice', async () => {
    const url = await newQueue()
    const Entries = ['a', 'b', 'c'].map((MessageBody, index) => ({ Id: `${index}`, MessageBody }))
    await subject.sqs.send(new SendMessageBatchCommand({ QueueUrl: url, Entries }))
    const messages = await receive(url)
    expect(messages).toHaveLength(3)
    const one = { QueueUrl: url, ReceiptHandle: messages[0]!.ReceiptHandle! }
    for (let time = 0; time < 2; time += 1) await subject.sqs.send(new DeleteMessageCommand(one))
    const rest = messages.slice(1).map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle }))
    const result = await subject.sqs.send(new DeleteMessageBatchCommand({ QueueUrl: url, Entries: rest }))
    expect(result.Successful).toHaveLength(2)
    await subject.elapse(2000)
    expect(await receive(url)).toEqual([])
    expect(await counts(url)).toEqual([0, 0, 0])
  })

  conforms('lets a late handle delete nothing once another delivery holds the message', async () => {
    const url = await newQueue()
    await send(url, 'a')
    const [first] = await receive(url, { VisibilityTimeout: 1 })
    await subject.elapse(1000)
    const [second] = await receive(url)
    await subject.sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: first!.ReceiptHandle! }))
    await subject.elapse(2000)
    expect((await receive(url))[0]!.MessageId).toBe(second!.MessageId)
  })

  conforms('moves the end of a visibility in both directions', async () => {
    const url = await newQueue()
    await send(url, 'a')
    const [message] = await receive(url)
    const change = async (VisibilityTimeout: number) =>
      await subject.sqs.send(
        new ChangeMessageVisibilityCommand({
          QueueUrl: url,
          ReceiptHandle: message!.ReceiptHandle!,
          VisibilityTimeout,
        }),
      )
    await change(4)
    await subject.elapse(2500)
    expect(await receive(url)).toEqual([])
    await change(0)
    expect(await receive(url)).toHaveLength(1)
    expect(await failure(change(43201))).toMatchObject({ status: 400 })
  })

  conforms('refuses to change what is not in flight', async () => {
    const url = await newQueue()
    await send(url, 'a')
    const [message] = await receive(url, { VisibilityTimeout: 1 })
    await subject.elapse(1000)
    const stale = { QueueUrl: url, ReceiptHandle: message!.ReceiptHandle!, VisibilityTimeout: 5 }
    const change = subject.sqs.send(new ChangeMessageVisibilityCommand(stale))
    expect(await failure(change)).toMatchObject({ name: 'MessageNotInflight', status: 400 })
  })

  conforms('refuses handles that are none', async () => {
    const url = await newQueue()
    const bogus = { QueueUrl: url, ReceiptHandle: 'bogus', VisibilityTimeout: 5 }
    const change = subject.sqs.send(new ChangeMessageVisibilityCommand(bogus))
    expect(await failure(change)).toMatchObject({ name: 'ReceiptHandleIsInvalid' })
  })

  conforms('does the good entries of a batch and names the bad ones', async () => {
    const url = await newQueue()
    await send(url, 'a')
    const [message] = await receive(url)
    const Entries = [message!.ReceiptHandle!, 'bogus'].map((ReceiptHandle, index) => ({
      Id: `${index}`,
      ReceiptHandle,
      VisibilityTimeout: 10,
    }))
    const result = await subject.sqs.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: url, Entries }))
    expect(result.Successful!.map(({ Id }) => Id)).toEqual(['0'])
    expect(result.Failed!.map(({ Id, SenderFault }) => [Id, SenderFault])).toEqual([['1', true]])
  })

  conforms('refuses batches that are empty, too long, or have an Id twice', async () => {
    const url = await newQueue()
    const batch = async (ids: string[]) =>
      await subject.sqs.send(
        new SendMessageBatchCommand({ QueueUrl: url, Entries: ids.map((Id) => ({ Id, MessageBody: 'a' })) }),
      )
    expect(await failure(batch([]))).toMatchObject({ name: 'EmptyBatchRequest' })
    expect(await failure(batch(Array.from({ length: 11 }, (_, index) => `${index}`)))).toMatchObject({
      name: 'TooManyEntriesInBatchRequest',
    })
    expect(await failure(batch(['a', 'a']))).toMatchObject({ name: 'BatchEntryIdsNotDistinct' })
    expect(await counts(url)).toEqual([0, 0, 0])
  })

  conforms('takes messages and batches up to 1 MiB', async () => {
    const url = await newQueue()
    await send(url, 'x'.repeat(1024 * 1024))
    expect(await failure(send(url, 'x'.repeat(1024 * 1024 + 1)))).toMatchObject({ status: 400 })
    const Entries = ['0', '1'].map((Id) => ({ Id, MessageBody: 'x'.repeat(600_000) }))
    const tooLong = subject.sqs.send(new SendMessageBatchCommand({ QueueUrl: url, Entries }))
    expect(await failure(tooLong)).toMatchObject({ name: 'BatchRequestTooLong' })
  })

  conforms('delays messages', async () => {
    const url = await newQueue()
    await send(url, 'late', { DelaySeconds: 1 })
    expect(await receive(url)).toEqual([])
    expect(await counts(url)).toEqual([0, 0, 1])
    await subject.elapse(1000)
    expect(await receive(url)).toHaveLength(1)
  })

  conforms('ends a long poll as soon as a message comes', async () => {
    const url = await newQueue()
    const startedAtMs = Date.now()
    const waiting = receive(url, { WaitTimeSeconds: 20 })
    await sleep(200)
    await send(url, 'a')
    expect(await waiting).toHaveLength(1)
    expect(Date.now() - startedAtMs).toBeLessThan(5000)
  })

  conforms('hands nothing to a client that has hung up', async () => {
    const url = await newQueue()
    const hangUp = new AbortController()
    const command = new ReceiveMessageCommand({ QueueUrl: url, WaitTimeSeconds: 20 })
    const waiting = failure(subject.sqs.send(command, { abortSignal: hangUp.signal }))
    await sleep(200)
    hangUp.abort()
    await waiting
    await sleep(100)
    await send(url, 'a')
    expect(await receive(url)).toHaveLength(1)
  })

  conforms('moves a message to the dead letters after maxReceiveCount deliveries', async () => {
    const deadUrl = await newQueue()
    const attributes = await subject.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: deadUrl, AttributeNames: ['QueueArn'] }),
    )
    const RedrivePolicy = JSON.stringify({
      deadLetterTargetArn: attributes.Attributes!['QueueArn'],
      maxReceiveCount: 2,
    })
    const url = await newQueue({ RedrivePolicy })
    const { MessageId } = await send(url, 'poison')
    for (let delivery = 0; delivery < 2; delivery += 1) {
      expect(await receive(url, { VisibilityTimeout: 1 })).toHaveLength(1)
      await subject.elapse(1000)
    }
    expect(await receive(url)).toEqual([])
    expect(await counts(url)).toEqual([0, 0, 0])
    expect((await receive(deadUrl))[0]).toMatchObject({ MessageId, Body: 'poison' })
  })

  conforms('keeps the message group of a standard queue for fair delivery', async () => {
    const url = await newQueue()
    await send(url, 'a', { MessageGroupId: 'run-1' })
    expect((await receive(url))[0]!.Attributes!['MessageGroupId']).toBe('run-1')
  })
})
