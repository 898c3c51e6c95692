// What S3 answers to a GET of one image, spoken by the real SDK to the emulator: which answers make a failed record of
// that image, which are asked again, and which say that no image of the bucket can be read.
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import { fetchImage } from '../../gpu-worker/pipeline/fetch.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'

type Answer = { status: number; code: string; message?: string }

/** The codes and words of S3's own answers (error responses of its API reference, and its user guide on encryption). */
const ofOneImage: readonly [Answer, code: string, says: RegExp][] = [
  [
    {
      status: 400,
      code: 'InvalidRequest',
      message:
        'The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.',
    },
    'source-unreadable',
    /SSE-C.* copy it .*S3 says InvalidRequest: The object was stored using a form of Server Side Encryption/,
  ],
  [
    { status: 400, code: 'KMS.DisabledException', message: 'arn:aws:kms:x:1:key/k is disabled.' },
    'source-unreadable',
    /its KMS key cannot be used; enable .*S3 says KMS\.DisabledException: arn:aws:kms:x:1:key\/k is disabled/,
  ],
  [
    { status: 400, code: 'KMS.KMSInvalidStateException', message: 'key/k is pending deletion.' },
    'source-unreadable',
    /restore the key.*pending deletion/,
  ],
  [{ status: 400, code: 'KMS.NotFoundException' }, 'source-unreadable', /KMS\.NotFoundException/],
  [
    {
      status: 403,
      code: 'AccessDenied',
      message: 'User: arn:aws:sts::1:assumed-role/w/i is not authorized to perform: kms:Decrypt on this',
    },
    'source-denied',
    /kms:Decrypt\) is denied; allow it .*kmsKeyArn/,
  ],
  [{ status: 403, code: 'KMS.AccessDeniedException' }, 'source-denied', /kms:Decrypt\) is denied/],
  [{ status: 403, code: 'AccessDenied' }, 'source-denied', /access is denied/],
  [{ status: 403, code: 'AllAccessDisabled' }, 'source-denied', /access is denied/],
  [{ status: 403, code: 'InvalidObjectState' }, 'source-unreadable', /archived; restore it/],
]
const passing: readonly Answer[] = [
  { status: 400, code: 'KMS.ThrottlingException' },
  { status: 500, code: 'KMS.KMSInternalException' },
  { status: 500, code: 'KMS.KeyUnavailableException' },
]
const ofAllImages: readonly Answer[] = [
  { status: 400, code: 'ExpiredToken' },
  { status: 403, code: 'InvalidAccessKeyId' },
  { status: 404, code: 'NoSuchBucket' },
  { status: 301, code: 'PermanentRedirect' },
]

const source = await openSource()
afterAll(source.close)

async function openSource() {
  const emulator = await startEmulator()
  const { endpoint, region, credentials } = emulator
  const connection = { endpoint, region, credentials, forcePathStyle: true }
  const client = new S3Client(connection)
  await client.send(new CreateBucketCommand({ Bucket: 'photos' }))
  await client.send(new PutObjectCommand({ Bucket: 'photos', Key: 'a.png', Body: Buffer.from('bytes') }))
  const store = openS3Store({ bucket: 'photos', ...connection })
  return {
    async fetch(answer: Answer | null) {
      emulator.setFaults(({ operation }) =>
        answer === null || operation !== 'GetObject' ? {} : { refuseWith: answer },
      )
      onTestFinished(() => emulator.setFaults(() => ({})))
      return await fetchImage(store, { key: 'a.png', maxBytes: 1000 })
    },
    async close() {
      client.destroy()
      store.close()
      await emulator.close()
    },
  }
}

describe('of S3,', () => {
  test.each(ofOneImage)('%j makes one failed record: %s', async (answer, code, says) => {
    const fetched = await source.fetch(answer)
    expect(fetched).toMatchObject({ ok: false, failure: { code, message: expect.stringMatching(says) } })
  })

  test.each(passing)('%j is asked again, and the message given back', async (answer) => {
    await expect(source.fetch(answer)).rejects.toThrow(RetryableError)
  })

  test.each(ofAllImages)('%j is no word about the image', async (answer) => {
    await expect(source.fetch(answer)).rejects.toThrow(UserError)
  })

  test('an image that is there is read', async () => {
    expect(await source.fetch(null)).toMatchObject({ ok: true, sizeBytes: 5 })
  })
})
