// The queues: the contract over each, and what only folders, processes and a service can do wrong.
import { spawn } from 'node:child_process'
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { manualClock } from '../helpers/manual-clock.ts'
import { formatName, isVisible, parseName } from '../../dataset/queues/folder-names.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { openMemoryQueue } from '../../dataset/queues/memory.ts'
import { openSqsQueue } from '../../dataset/queues/sqs.ts'
import { maxLeaseMs } from '../../dataset/queues/work-queue.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { workQueueContract } from '../contracts/work-queue.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import type { FaultPlan } from '../../emulator/faults.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const take = { max: 10, waitMs: 0, leaseMs: 30_000 }

workQueueContract('memory', async ({ maxReceives }) => {
  const clock = manualClock(Date.now())
  const deadLetters = openMemoryQueue({ clock })
  const queue = openMemoryQueue({ clock, maxReceives, deadLetters })
  return { queue, deadLetters, elapse: clock.advance, nowMs: clock.nowMs }
})

workQueueContract('folder', async ({ maxReceives }) => {
  const clock = manualClock(Date.now())
  const folder = await tempFolder()
  const deadLetterFolder = join(folder, 'dead')
  const deadLetters = openFolderQueue(deadLetterFolder, { clock })
  const queue = openFolderQueue(join(folder, 'work'), { clock, maxReceives, deadLetterFolder })
  return { queue, deadLetters, elapse: clock.advance, nowMs: clock.nowMs }
})

workQueueContract('sqs', async ({ maxReceives }) => {
  const { queue, deadLetters, clock } = await openEmulated({ maxReceives })
  return { queue, deadLetters, elapse: clock.advance, nowMs: clock.nowMs }
})

async function openEmulated({ maxReceives = 3, faults }: { maxReceives?: number; faults?: FaultPlan } = {}) {
  const clock = manualClock(Date.now())
  const emulator = await startEmulator({ clock })
  const { endpoint, region, credentials } = emulator
  const client = new SQSClient({ endpoint, region, credentials })
  const create = async (QueueName: string, Attributes: Record<string, string>) =>
    (await client.send(new CreateQueueCommand({ QueueName, Attributes }))).QueueUrl!
  const deadUrl = await create('dead', {})
  const deadLetterTargetArn = 'arn:aws:sqs:us-east-1:000000000000:dead'
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn, maxReceiveCount: maxReceives })
  const queueUrl = await create('work', { RedrivePolicy })
  const queue = openSqsQueue({ queueUrl, endpoint, region, credentials })
  const deadLetters = openSqsQueue({ queueUrl: deadUrl, endpoint, region, credentials })
  if (faults !== undefined) emulator.setFaults(faults)
  onTestFinished(async () => {
    for (const { close } of [queue, deadLetters]) close()
    client.destroy()
    await emulator.close()
  })
  return { emulator, clock, queue, deadLetters, queueUrl }
}

describe('folder queue', () => {
  test('writes the whole state of a message into its name, and reads it back', () => {
    const message = {
      visibleAtMs: 1764000000000,
      receiveCount: 12,
      sentAtMs: 1763000000000,
      messageId: '0189d5a0-0000-4000-8000-000000000000',
      token: '0123456789abcdef',
    }
    expect(parseName(formatName(message))).toEqual(message)
    for (const name of ['', '.DS_Store', 'a.b.c.d.e', `${formatName(message)}.tmp`, 'notes.txt'])
      expect(parseName(name)).toBeNull()
  })

  test('does not leave a message stuck that a clock far ahead has leased', () => {
    const nowMs = 1764000000000
    const name = { receiveCount: 1, sentAtMs: 0, messageId: '', token: '' }
    expect(isVisible({ ...name, visibleAtMs: nowMs + maxLeaseMs }, nowMs)).toBe(false)
    expect(isVisible({ ...name, visibleAtMs: nowMs + maxLeaseMs + 1 }, nowMs)).toBe(true)
  })

  test('finds a lease that another opening of the folder has taken', async () => {
    const folder = await tempFolder()
    const queue = openFolderQueue(folder)
    await queue.send(['a'])
    const [message] = await queue.receive(take)
    expect(await openFolderQueue(folder).extend([message!.lease], 60_000)).toEqual(['done'])
    // The first one still remembers the name from before.
    expect(await queue.ack([message!.lease])).toEqual(['done'])
    expect(await readdir(join(folder, 'messages'))).toEqual([])
  })

  test('ignores files that are not messages and sweeps what killed senders left', async () => {
    const folder = await tempFolder()
    await mkdir(join(folder, '.tmp'))
    await mkdir(join(folder, 'messages'))
    await writeFile(join(folder, 'messages', 'notes.txt'), 'not a message')
    for (const name of ['torn', 'fresh']) await writeFile(join(folder, '.tmp', name), 'half')
    await utimes(join(folder, '.tmp', 'torn'), 1, 1)
    const queue = openFolderQueue(folder)
    await queue.send(['a'])
    expect((await queue.receive(take)).map(({ body }) => body)).toEqual(['a'])
    expect(await readdir(join(folder, '.tmp'))).toEqual(['fresh'])
  })

  test('says what is wrong when the folder cannot be one', async () => {
    const folder = await tempFolder()
    await writeFile(join(folder, 'file'), '')
    await expect(openFolderQueue(join(folder, 'file')).send(['a'])).rejects.toThrow(UserError)
    await expect(openFolderQueue(join(folder, 'file')).send(['a'])).rejects.toThrow(/not a folder/)
  })

  test(
    'loses nothing and leaves nothing stuck when processes are killed at any point',
    { timeout: 60_000 },
    async () => {
      const folder = await tempFolder()
      const queue = openFolderQueue(join(folder, 'queue'))
      const sent = Array.from({ length: 300 }, (_, index) => `m${index}`)
      for (let at = 0; at < sent.length; at += 10) await queue.send(sent.slice(at, at + 10))
      await mkdir(join(folder, 'done'))
      let kills = 0
      const consume = async (lifeMs: number | null) => {
        const script = new URL('../helpers/queue-child.ts', import.meta.url).pathname
        const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'inherit', 'inherit'] })
        const timer = lifeMs === null ? undefined : setTimeout(() => child.kill('SIGKILL'), lifeMs)
        const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
          child.once('exit', (...result) => resolve(result))
        })
        clearTimeout(timer)
        if (signal === 'SIGKILL') kills += 1
        else expect(code).toBe(0)
      }
      for (let round = 0; round < 3; round += 1)
        await Promise.all([consume(250 + round * 41), consume(320 + round * 67), consume(400 + round * 83)])
      await Promise.all([consume(null), consume(null)])
      const done = await readdir(join(folder, 'done'))
      // A message is worked on again after a kill; its file is named by it, so the set tells what was lost.
      expect(done.toSorted()).toEqual(sent.toSorted())
      expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
      expect(kills).toBeGreaterThan(0)
    },
  )
})

describe('sqs queue', () => {
  test('tries entries again that fail inside a batch', async () => {
    let calls = 0
    const { queue } = await openEmulated({
      faults: ({ operation }) => {
        calls += 1
        return operation.endsWith('Batch') && calls % 2 === 1 ? { failEntry: (index) => index % 3 === 0 } : {}
      },
    })
    expect(await queue.send(['a', 'b', 'c', 'd'])).toEqual([true, true, true, true])
    const messages = await queue.receive(take)
    expect(messages).toHaveLength(4)
    expect(await queue.ack(messages.map(({ lease }) => lease))).toEqual(['done', 'done', 'done', 'done'])
    expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
  })

  test('says which entries failed when they keep failing', async () => {
    const { queue } = await openEmulated({
      faults: ({ operation }) =>
        operation === 'SendMessageBatch' ? { failEntry: (index) => index === 0 } : {},
    })
    // After the first call the failing entry is alone, and so the first, each time.
    expect(await queue.send(['a', 'b'])).toEqual([false, true])
  })

  test('sends again when the answer is lost: twice is better than never', async () => {
    const { queue } = await openEmulated({ faults: ({ sequence }) => ({ loseResponse: sequence === 2 }) })
    expect(await queue.send(['a'])).toEqual([true])
    expect((await queue.receive(take)).map(({ body }) => body)).toEqual(['a', 'a'])
  })

  test("reports a busy service as retryable and a missing queue as the user's", async () => {
    const { queue, emulator, queueUrl } = await openEmulated({
      faults: () => ({ refuseWith: { status: 503, code: 'ServiceUnavailable' } }),
    })
    await expect(queue.receive(take)).rejects.toThrow(RetryableError)
    emulator.setFaults(() => ({}))
    const { endpoint, region, credentials } = emulator
    const missing = openSqsQueue({ queueUrl: `${queueUrl}-missing`, endpoint, region, credentials })
    await expect(missing.stats()).rejects.toThrow(/does not exist/)
    await expect(missing.send(['a'])).rejects.toThrow(UserError)
    const secretAccessKey = 'wrong'
    const stranger = openSqsQueue({
      queueUrl,
      endpoint,
      region,
      credentials: { ...credentials, secretAccessKey },
    })
    await expect(stranger.receive(take)).rejects.toThrow(/signature is wrong/)
  })
})
