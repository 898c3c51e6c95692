// What both conformance suites need: SDK clients of a fresh emulator, or of the server CONFORMANCE_ENDPOINT names
// (CONFORMANCE_NAME=radosgw CONFORMANCE_SERVICES=s3, CONFORMANCE_NAME=fauxqs CONFORMANCE_SERVICES=sqs).
import { setTimeout as sleep } from 'node:timers/promises'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { test } from 'vitest'
import { manualClock } from '../helpers/manual-clock.ts'
import { startEmulator, type Emulator } from '../../emulator/emulator.ts'
import { differences } from './differences.ts'

export type Subject = {
  s3: S3Client
  sqs: SQSClient
  /** Lets time pass: at once on the emulator, by waiting elsewhere. */
  elapse(durationMs: number): Promise<void>
  /** Null when the suite runs against another server. */
  emulator: Emulator | null
  endpoint: string
  close(): Promise<void>
}

/** Which server and which of its services a run is about; unset, both of the emulator. */
export const foreignEndpoint = process.env['CONFORMANCE_ENDPOINT']
const foreignServices = (process.env['CONFORMANCE_SERVICES'] ?? 's3,sqs').split(',')
export const foreignName = process.env['CONFORMANCE_NAME'] ?? 'another server'

export function covers(service: 's3' | 'sqs'): boolean {
  return foreignEndpoint === undefined || foreignServices.includes(service)
}

export async function openSubject(): Promise<Subject> {
  const clock = manualClock(Date.now())
  const emulator = foreignEndpoint === undefined ? await startEmulator({ clock }) : null
  const endpoint = emulator?.endpoint ?? foreignEndpoint ?? ''
  const credentials = emulator?.credentials ?? {
    accessKeyId: process.env['CONFORMANCE_ACCESS_KEY'] ?? 'test',
    secretAccessKey: process.env['CONFORMANCE_SECRET_KEY'] ?? 'test',
  }
  const connection = { endpoint, region: process.env['CONFORMANCE_REGION'] ?? 'us-east-1', credentials }
  const s3 = new S3Client({ ...connection, forcePathStyle: true })
  const sqs = new SQSClient(connection)
  return {
    s3,
    sqs,
    emulator,
    endpoint,
    async elapse(durationMs) {
      if (emulator !== null) clock.advance(durationMs)
      else await sleep(durationMs + 300)
    },
    async close() {
      s3.destroy()
      sqs.destroy()
      await emulator?.close()
    },
  }
}

/** A test that other servers may be known to fail. */
export function conforms(name: string, check: () => Promise<void>): void {
  const reason = foreignEndpoint === undefined ? undefined : differences[foreignName]?.[name]
  if (reason === undefined) test(name, check)
  else test.fails(`${name} (not here: ${reason})`, check)
}

/** How a request fails: the error's name and status. */
export async function failure(
  request: Promise<unknown>,
): Promise<{ name: string; status: number | undefined }> {
  const error: unknown = await request.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  )
  // The SDK's errors carry their status so.
  const { name, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
  return { name, status: $metadata?.httpStatusCode }
}
