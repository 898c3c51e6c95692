// Checks AWS Signature Version 4 in the Authorization header, as the reference describes it. It does not sign.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { AwsError, decodePercent, encodeStrict, hashHex, type WireRequest } from './wire.ts'

export type Credentials = { accessKeyId: string; secretAccessKey: string }

/** AWS refuses a request whose clock is further off. */
const maxSkewMs = 15 * 60 * 1000

const pattern =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/(s3|sqs)\/aws4_request,\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})$/

/** Throws AwsError unless the request was signed with these credentials. Time is the machine's: clients sign with it. */
export function verifySignature(
  request: WireRequest,
  { credentials, service }: { credentials: Credentials; service: 's3' | 'sqs' },
): void {
  const authorization = request.headers['authorization']
  if (authorization === undefined)
    throw new AwsError(service === 's3' ? 'AccessDenied' : 'MissingAuthenticationToken', 'Access Denied', 403)
  const [, accessKeyId, date, region, scopeService, signedHeaders, signature] =
    pattern.exec(authorization) ?? []
  if (date === undefined || region === undefined || signedHeaders === undefined || signature === undefined)
    throw new AwsError('AuthorizationHeaderMalformed', 'The authorization header is malformed.')
  if (accessKeyId !== credentials.accessKeyId)
    throw new AwsError(
      service === 's3' ? 'InvalidAccessKeyId' : 'InvalidClientTokenId',
      'The AWS access key Id you provided does not exist in our records.',
      403,
    )
  if (scopeService !== service)
    throw new AwsError('AuthorizationHeaderMalformed', `The service must be "${service}".`)
  checkTime(request.headers['x-amz-date'] ?? '', date)
  const scope = `${date}/${region}/${service}/aws4_request`
  const canonical = canonicalRequest(request, signedHeaders.split(';'), service)
  const toSign = [
    'AWS4-HMAC-SHA256',
    request.headers['x-amz-date'],
    scope,
    hashHex('sha256', canonical),
  ].join('\n')
  const key = [date, region, service, 'aws4_request'].reduce<Buffer>(
    (previous, text) => hmac(previous, text),
    Buffer.from(`AWS4${credentials.secretAccessKey}`),
  )
  if (!timingSafeEqual(hmac(key, toSign), Buffer.from(signature, 'hex')))
    throw new AwsError(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided.',
      403,
    )
}

/** Method, path, query, headers, their names and the payload hash, a line each. */
function canonicalRequest(request: WireRequest, signedHeaders: string[], service: 's3' | 'sqs'): string {
  const mustSign = ['host', ...Object.keys(request.headers).filter((name) => name.startsWith('x-amz-'))]
  const unsigned = mustSign.filter((name) => !signedHeaders.includes(name))
  if (unsigned.length > 0)
    throw new AwsError(
      'AccessDenied',
      `There were headers present which were not signed: ${unsigned.join(', ')}`,
      403,
    )
  const segments = request.rawPath.split('/').map((segment) => encodeStrict(decodePercent(segment)))
  // Every service but S3 encodes the path twice.
  const path = service === 's3' ? segments.join('/') : segments.map(encodeStrict).join('/')
  const query = request.query
    .map(([name, value]) => [encodeStrict(name), encodeStrict(value)] as const)
    .toSorted(([a, x], [b, y]) => (a === b ? (x < y ? -1 : 1) : a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
  const headers = signedHeaders.map((name) => {
    const value = request.headers[name]
    if (value === undefined) throw new AwsError('AccessDenied', `The signed header ${name} is missing`, 403)
    return `${name}:${value.trim().replaceAll(/ +/g, ' ')}\n`
  })
  const payload = request.headers['x-amz-content-sha256'] ?? hashHex('sha256', request.body)
  return [request.method, path, query, headers.join(''), signedHeaders.join(';'), payload].join('\n')
}

function checkTime(amzDate: string, scopeDate: string): void {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(amzDate) ?? []
  const signedAtMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  if (Number.isNaN(signedAtMs) || !amzDate.startsWith(scopeDate))
    throw new AwsError('AccessDenied', 'AWS authentication requires a valid x-amz-date header', 403)
  if (Math.abs(Date.now() - signedAtMs) > maxSkewMs)
    throw new AwsError(
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
      403,
    )
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
