// What S3 does, asked through the SDK's own client; clients.ts says over which server.
import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  type PutObjectCommandInput,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { conforms, covers, failure, openSubject, type Subject } from './clients.ts'

let subject: Subject
beforeAll(async () => {
  subject = await openSubject()
})
afterAll(async () => await subject.close())

describe.runIf(covers('s3'))('S3', () => {
  let Bucket: string
  beforeAll(async () => {
    Bucket = await newBucket()
  })

  async function newBucket(): Promise<string> {
    const name = `conformance-${randomUUID()}`
    await subject.s3.send(new CreateBucketCommand({ Bucket: name }))
    return name
  }

  const put = async (Key: string, body: string | Buffer, more: Partial<PutObjectCommandInput> = {}) =>
    await subject.s3.send(new PutObjectCommand({ Bucket, Key, Body: Buffer.from(body), ...more }))
  const read = async (Key: string, Range?: string) => {
    const found = await subject.s3.send(
      new GetObjectCommand({ Bucket, Key, ...(Range === undefined ? {} : { Range }) }),
    )
    return { ...found, bytes: Buffer.from((await found.Body?.transformToByteArray()) ?? []) }
  }
  const listed = async (more: object) => {
    const pages: string[][] = []
    let token: string | undefined
    do {
      const page = await subject.s3.send(
        new ListObjectsV2Command({
          Bucket,
          ...more,
          ...(token === undefined ? {} : { ContinuationToken: token }),
        }),
      )
      pages.push((page.Contents ?? []).map(({ Key }) => Key!))
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined
    } while (token !== undefined)
    return pages
  }

  conforms('answers for buckets that are there and that are not', async () => {
    await subject.s3.send(new HeadBucketCommand({ Bucket }))
    const missing = `missing-${randomUUID()}`
    expect(await failure(subject.s3.send(new HeadBucketCommand({ Bucket: missing })))).toMatchObject({
      status: 404,
    })
    const get = new GetObjectCommand({ Bucket: missing, Key: 'k' })
    expect(await failure(subject.s3.send(get))).toMatchObject({ name: 'NoSuchBucket', status: 404 })
  })

  conforms('gives back bytes, ETag, type and metadata', async () => {
    const more = { ContentType: 'image/png', ContentEncoding: 'gzip', Metadata: { 'put-id': 'x' } }
    const { ETag } = await put('plain', 'hello', more)
    expect(ETag).toBe(`"${createHash('md5').update('hello').digest('hex')}"`)
    const found = await read('plain')
    expect(found.bytes.toString()).toBe('hello')
    expect(found).toMatchObject({ ...more, ETag, ContentLength: 5 })
    const head = await subject.s3.send(new HeadObjectCommand({ Bucket, Key: 'plain' }))
    expect(head).toMatchObject({ ...more, ETag, ContentLength: 5 })
  })

  conforms('holds empty and large objects, and overwrites without conditions', async () => {
    const large = Buffer.alloc(3_000_000, 'abcdefg')
    for (const bytes of [Buffer.alloc(0), large, Buffer.from('x')]) {
      await put('sized', bytes)
      expect((await read('sized')).bytes.equals(bytes)).toBe(true)
    }
  })

  conforms('says what is missing by GET and HEAD', async () => {
    const get = subject.s3.send(new GetObjectCommand({ Bucket, Key: 'missing' }))
    expect(await failure(get)).toEqual({ name: 'NoSuchKey', status: 404 })
    const head = subject.s3.send(new HeadObjectCommand({ Bucket, Key: 'missing' }))
    expect(await failure(head)).toEqual({ name: 'NotFound', status: 404 })
  })

  conforms('creates under a free key only, with If-None-Match: *', async () => {
    await put('once', 'first', { IfNoneMatch: '*' })
    expect(await failure(put('once', 'second', { IfNoneMatch: '*' }))).toEqual({
      name: 'PreconditionFailed',
      status: 412,
    })
    expect((await read('once')).bytes.toString()).toBe('first')
  })

  conforms('lets one of many racing creations win', async () => {
    const races = await Promise.allSettled(
      Array.from({ length: 20 }, async (_, n) => await put('race', `${n}`, { IfNoneMatch: '*' })),
    )
    const winners = races.flatMap(({ status }, n) => (status === 'fulfilled' ? [`${n}`] : []))
    expect(winners).toHaveLength(1)
    expect((await read('race')).bytes.toString()).toBe(winners[0])
  })

  conforms('replaces with If-Match only what is still the same', async () => {
    const { ETag } = await put('swap', 'one')
    await put('swap', 'two', { IfMatch: ETag! })
    expect(await failure(put('swap', 'three', { IfMatch: ETag! }))).toMatchObject({ status: 412 })
    expect(await failure(put('swap-missing', 'x', { IfMatch: ETag! }))).toMatchObject({ status: 404 })
    expect((await read('swap')).bytes.toString()).toBe('two')
  })

  conforms('answers conditional reads with 304 and 412', async () => {
    const { ETag } = await put('conditional', 'x')
    const get = (more: object) =>
      subject.s3.send(new GetObjectCommand({ Bucket, Key: 'conditional', ...more }))
    expect(await failure(get({ IfNoneMatch: ETag }))).toMatchObject({ status: 304 })
    expect(await failure(get({ IfMatch: '"0"' }))).toMatchObject({ status: 412 })
  })

  conforms('serves ranges, cut at the end', async () => {
    await put('range', '0123456789')
    const cases = [
      ['bytes=2-4', '234', 'bytes 2-4/10'],
      ['bytes=7-99', '789', 'bytes 7-9/10'],
      ['bytes=8-', '89', 'bytes 8-9/10'],
      ['bytes=-3', '789', 'bytes 7-9/10'],
      ['bytes=0-0', '0', 'bytes 0-0/10'],
    ] as const
    for (const [range, text, contentRange] of cases) {
      const found = await read('range', range)
      expect([found.bytes.toString(), found.ContentRange]).toEqual([text, contentRange])
    }
    expect(await failure(read('range', 'bytes=10-12'))).toMatchObject({ name: 'InvalidRange', status: 416 })
  })

  conforms('checks and gives back the CRC32 that the SDK adds', async () => {
    const { ChecksumCRC32 } = await put('crc', 'hello')
    expect(ChecksumCRC32).toBe('NhCmhg==')
    expect((await read('crc')).ChecksumCRC32).toBe('NhCmhg==')
  })

  conforms('refuses bytes that do not match their checksum', async () => {
    expect(await failure(put('bad', 'hello', { ChecksumCRC32: 'AAAAAA==' }))).toMatchObject({ status: 400 })
    const sha256 = createHash('sha256').update('other').digest('base64')
    expect(await failure(put('bad', 'hello', { ChecksumSHA256: sha256 }))).toMatchObject({ status: 400 })
    expect(await failure(read('bad'))).toMatchObject({ status: 404 })
  })

  conforms('knows every checksum the SDK can compute without native code', async () => {
    for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'SHA1', 'SHA256'] as const) {
      await put(`sum-${ChecksumAlgorithm}`, 'hello', { ChecksumAlgorithm })
      expect((await read(`sum-${ChecksumAlgorithm}`)).bytes.toString()).toBe('hello')
    }
  })

  conforms('takes the CRC64NVME that the AWS CLI sends, and checks it', async () => {
    const ChecksumCRC64NVME = 'M3eFcAZSQlc='
    await put('crc64', 'hello', { ChecksumCRC64NVME })
    expect((await read('crc64')).ChecksumCRC64NVME).toBe(ChecksumCRC64NVME)
    const wrong = put('crc64-wrong', 'other', { ChecksumCRC64NVME })
    expect(await failure(wrong)).toMatchObject({ status: 400 })
  })

  conforms('takes streams, framed as aws-chunked with the checksum as trailer', async () => {
    const bytes = Buffer.alloc(300_000, 'stream')
    const Body = Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)])
    const put = new PutObjectCommand({ Bucket, Key: 'stream', Body, ContentLength: bytes.length })
    await subject.s3.send(put)
    const found = await read('stream')
    expect(found.bytes.equals(bytes)).toBe(true)
    expect(found.ContentEncoding).toBeUndefined()
  })

  conforms('keeps keys as they are: spaces, plus signs, dots, slashes, Unicode, 1024 bytes', async () => {
    const keys = [
      'a b',
      'a+b',
      'a%20b',
      'a/../b',
      'a//b',
      '/lead',
      'trail/',
      'é\u{1F600}',
      "q'()*!~?&=#",
      'x'.repeat(1024),
    ]
    for (const key of keys) await put(`odd${key}`.slice(0, 1024), key)
    for (const key of keys) expect((await read(`odd${key}`.slice(0, 1024))).bytes.toString()).toBe(key)
    expect(await failure(put('x'.repeat(1025), ''))).toMatchObject({ name: 'KeyTooLongError', status: 400 })
  })

  conforms('lists in order of UTF-8 bytes, page by page', async () => {
    const keys = ['b', 'a', 'B', 'a/b', 'a-b', 'é', '\uff5e', '\u{1F600}', 'a+ &<"', 'zz'].map(
      (key) => `list/${key}`,
    )
    for (const key of keys) await put(key, key)
    const sorted = keys.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
    for (const MaxKeys of [1, 3, 1000]) {
      const pages = await listed({ Prefix: 'list/', MaxKeys })
      expect(pages.flat()).toEqual(sorted)
      expect(pages).toHaveLength(Math.ceil(sorted.length / MaxKeys))
    }
    expect((await listed({ Prefix: 'list/', StartAfter: sorted[3] })).flat()).toEqual(sorted.slice(4))
    expect((await listed({ Prefix: 'list/', StartAfter: 'list/a,' })).flat()).toEqual(
      sorted.filter((key) => Buffer.compare(Buffer.from(key), Buffer.from('list/a,')) > 0),
    )
    expect((await listed({ Prefix: 'nothing/' })).flat()).toEqual([])
  })

  conforms('writes listed keys percent-encoded when asked, so that control characters survive', async () => {
    for (const key of ['a b', 'c\u0001d', 'e+f']) await put(`encoded/${key}`, '')
    const page = await subject.s3.send(
      new ListObjectsV2Command({ Bucket, Prefix: 'encoded/', EncodingType: 'url' }),
    )
    const keys = page.Contents!.map(({ Key }) => decodeURIComponent(Key!.replaceAll('+', ' ')))
    expect(keys).toEqual(['encoded/a b', 'encoded/c\u0001d', 'encoded/e+f'])
  })

  conforms('rolls keys up to a delimiter', async () => {
    for (const key of ['x', 'y/1', 'y/2', 'z/1']) await put(`roll/${key}`, '')
    const names: string[] = []
    let token: string | undefined
    do {
      const more = token === undefined ? {} : { ContinuationToken: token }
      const page = await subject.s3.send(
        new ListObjectsV2Command({ Bucket, Prefix: 'roll/', Delimiter: '/', MaxKeys: 1, ...more }),
      )
      names.push(...(page.Contents ?? []).map(({ Key }) => Key!))
      names.push(...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix!))
      token = page.NextContinuationToken
    } while (token !== undefined)
    expect(names).toEqual(['roll/x', 'roll/y/', 'roll/z/'])
  })

  conforms('deletes one and many, also what is not there', async () => {
    for (const key of ['one', 'two', 'th<r>ee']) await put(`delete/${key}`, '')
    await subject.s3.send(new DeleteObjectCommand({ Bucket, Key: 'delete/one' }))
    await subject.s3.send(new DeleteObjectCommand({ Bucket, Key: 'delete/one' }))
    const Objects = ['delete/two', 'delete/th<r>ee', 'delete/missing'].map((Key) => ({ Key }))
    const { Deleted, Errors = [] } = await subject.s3.send(
      new DeleteObjectsCommand({ Bucket, Delete: { Objects } }),
    )
    expect(new Set(Deleted!.map(({ Key }) => Key))).toEqual(new Set(Objects.map(({ Key }) => Key)))
    expect(Errors).toEqual([])
    expect((await listed({ Prefix: 'delete/' })).flat()).toEqual([])
  })

  describe('multipart', () => {
    const partBytes = 5 * 1024 * 1024
    const start = async (Key: string) => {
      const { UploadId } = await subject.s3.send(
        new CreateMultipartUploadCommand({ Bucket, Key, ContentType: 'a/b' }),
      )
      return { Bucket, Key, UploadId: UploadId! }
    }
    type Started = Awaited<ReturnType<typeof start>>
    const part = async (upload: Started, PartNumber: number, Body: Buffer) => {
      const { ETag } = await subject.s3.send(new UploadPartCommand({ ...upload, PartNumber, Body }))
      return { PartNumber, ETag: ETag! }
    }
    const complete = async (
      upload: Started,
      Parts: { PartNumber: number; ETag: string }[],
      more: object = {},
    ) =>
      await subject.s3.send(
        new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts }, ...more }),
      )

    conforms('joins parts, however they came', async () => {
      const upload = await start('multi')
      const [first, last] = [Buffer.alloc(partBytes, 'a'), Buffer.from('the end')]
      const parts = [await part(upload, 7, last), await part(upload, 2, first)].toReversed()
      expect(await failure(read('multi'))).toMatchObject({ status: 404 })
      await complete(upload, parts)
      const found = await read('multi')
      expect(found.bytes.equals(Buffer.concat([first, last]))).toBe(true)
      expect(found).toMatchObject({ ContentType: 'a/b' })
      expect(found.ETag).toMatch(/^"[0-9a-f]{32}-2"$/)
    })

    conforms('refuses parts that are small, unknown or out of order', async () => {
      const upload = await start('multi-bad')
      const [one, two] = [
        await part(upload, 1, Buffer.from('small')),
        await part(upload, 2, Buffer.from('x')),
      ]
      expect(await failure(complete(upload, [one, two]))).toMatchObject({ name: 'EntityTooSmall' })
      expect(await failure(complete(upload, [{ ...one, PartNumber: 9 }]))).toMatchObject({
        name: 'InvalidPart',
      })
      const large = await part(upload, 1, Buffer.alloc(partBytes))
      expect(await failure(complete(upload, [two, large]))).toMatchObject({ name: 'InvalidPartOrder' })
      await complete(upload, [large, two])
    })

    conforms('aborts an upload for good', async () => {
      const upload = await start('multi-gone')
      const one = await part(upload, 1, Buffer.from('x'))
      await subject.s3.send(new AbortMultipartUploadCommand(upload))
      expect(await failure(complete(upload, [one]))).toMatchObject({ name: 'NoSuchUpload', status: 404 })
      expect(await failure(part(upload, 2, Buffer.from('x')))).toMatchObject({ name: 'NoSuchUpload' })
      expect(await failure(read('multi-gone'))).toMatchObject({ status: 404 })
    })

    conforms('completes under a free key only, with If-None-Match: *', async () => {
      await put('multi-taken', 'first')
      const upload = await start('multi-taken')
      const parts = [await part(upload, 1, Buffer.from('second'))]
      expect(await failure(complete(upload, parts, { IfNoneMatch: '*' }))).toMatchObject({ status: 412 })
      expect((await read('multi-taken')).bytes.toString()).toBe('first')
    })
  })

  conforms('refuses requests that are unsigned or signed with another secret', async () => {
    const response = await fetch(`${subject.endpoint}/${Bucket}/plain`)
    expect(response.status).toBe(403)
    const { accessKeyId } = await subject.s3.config.credentials()
    const stranger = new S3Client({
      endpoint: subject.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey: 'not the secret' },
    })
    const get = stranger.send(new GetObjectCommand({ Bucket, Key: 'plain' }))
    expect(await failure(get)).toEqual({ name: 'SignatureDoesNotMatch', status: 403 })
    stranger.destroy()
  })
})
