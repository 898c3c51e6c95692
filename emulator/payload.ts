// The bytes an S3 request carries: aws-chunked framing undone, hashes and checksums verified. It does not store them.
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { crc32c, crc64nvme } from './crc.ts'
import { AwsError, hashHex, type WireRequest } from './wire.ts'

export const checksumNames = ['crc32', 'crc32c', 'crc64nvme', 'sha1', 'sha256'] as const
export type ChecksumName = (typeof checksumNames)[number]

export type Payload = {
  bytes: Buffer
  /** Base64, verified. */ checksums: Partial<Record<ChecksumName, string>>
}

/** Decodes and verifies a request's body. Throws AwsError naming what does not match. */
export function readPayload(request: WireRequest): Payload {
  const declared = request.headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD'
  const { bytes, trailers } = declared.startsWith('STREAMING-')
    ? decodeChunked(request.body)
    : { bytes: request.body, trailers: {} }
  if (declared.startsWith('STREAMING-')) checkStreaming(request, declared, bytes)
  else if (declared !== 'UNSIGNED-PAYLOAD' && declared !== hashHex('sha256', bytes))
    throw new AwsError(
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
  const md5 = request.headers['content-md5']
  if (md5 !== undefined && md5 !== createHash('md5').update(bytes).digest('base64'))
    throw new AwsError('BadDigest', 'The Content-MD5 you specified did not match what we received.')
  const announced = request.headers['x-amz-trailer']
  if (announced !== undefined && !(announced in trailers))
    throw new AwsError('MalformedTrailerError', `The announced trailer ${announced} did not come.`)
  return { bytes, checksums: verifyChecksums(bytes, { ...request.headers, ...trailers }) }
}

/** Chunks are `size[;extension]\r\n bytes \r\n`, the last has size zero and is followed by trailer lines. */
export function decodeChunked(body: Buffer): { bytes: Buffer; trailers: Record<string, string> } {
  const chunks: Buffer[] = []
  let at = 0
  for (;;) {
    const lineEnd = body.indexOf('\r\n', at)
    const size = Number.parseInt(lineEnd < 0 ? '' : body.toString('latin1', at, lineEnd), 16)
    if (Number.isNaN(size)) throw new AwsError('IncompleteBody', 'The chunk framing of the body is broken.')
    at = lineEnd + 2
    if (size === 0) break
    if (at + size + 2 > body.length)
      throw new AwsError('IncompleteBody', 'You did not provide the number of bytes specified by a chunk.')
    chunks.push(body.subarray(at, at + size))
    at += size + 2
  }
  const lines = body.toString('latin1', at).split('\r\n')
  const trailers = lines.flatMap((line): [string, string][] => {
    const colon = line.indexOf(':')
    return colon < 0 ? [] : [[line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()]]
  })
  return { bytes: Buffer.concat(chunks), trailers: Object.fromEntries(trailers) }
}

/** Base64 of the checksum's bytes, as the headers carry it. */
export function checksumOf(name: ChecksumName, bytes: Buffer): string {
  if (name === 'sha1' || name === 'sha256') return createHash(name).update(bytes).digest('base64')
  if (name === 'crc64nvme') {
    const value = Buffer.alloc(8)
    value.writeBigUInt64BE(crc64nvme(bytes))
    return value.toString('base64')
  }
  const value = Buffer.alloc(4)
  value.writeUInt32BE(name === 'crc32' ? crc32(bytes) : crc32c(bytes))
  return value.toString('base64')
}

function checkStreaming(request: WireRequest, declared: string, bytes: Buffer): void {
  if (declared !== 'STREAMING-UNSIGNED-PAYLOAD-TRAILER')
    throw new AwsError('NotImplemented', `The payload form ${declared} is not implemented.`, 501)
  const length = Number(request.headers['x-amz-decoded-content-length'])
  if (length !== bytes.length)
    throw new AwsError('IncompleteBody', `The body has ${bytes.length} bytes, ${length} were announced.`)
}

function verifyChecksums(bytes: Buffer, headers: Record<string, string>): Payload['checksums'] {
  const checksums: Payload['checksums'] = {}
  for (const name of checksumNames) {
    const value = headers[`x-amz-checksum-${name}`]
    if (value === undefined) continue
    if (value !== checksumOf(name, bytes))
      throw new AwsError(
        'BadDigest',
        `The ${name.toUpperCase()} you specified did not match the calculated checksum.`,
      )
    checksums[name] = value
  }
  return checksums
}
