// A request and a response as plain values, and the errors AWS answers with. It does not know sockets or services.
import { createHash } from 'node:crypto'

export type WireRequest = {
  method: string
  /** As sent, percent-encoded: `URL` would fold `a/../b`. */
  rawPath: string
  /** Decoded pairs in the order sent. */
  query: [name: string, value: string][]
  /** Lower-case names. */
  headers: Record<string, string>
  body: Buffer
  /** Aborts when the client hangs up. */
  signal: AbortSignal
}

export type WireResponse = { status: number; headers?: Record<string, string>; body?: Buffer | string }

/** An error the way AWS names it. Services turn it into XML or JSON. */
export class AwsError extends Error {
  override readonly name = 'AwsError'
  readonly code: string
  readonly status: number
  constructor(code: string, message: string, status = 400) {
    super(message)
    this.code = code
    this.status = status
  }
}

/** Splits a request target into its raw path and decoded query. */
export function splitTarget(target: string): Pick<WireRequest, 'rawPath' | 'query'> {
  const mark = target.indexOf('?')
  const rawPath = mark < 0 ? target : target.slice(0, mark)
  const pairs = mark < 0 ? [] : target.slice(mark + 1).split('&')
  const query = pairs
    .filter((pair) => pair !== '')
    .map((pair): [string, string] => {
      const equals = pair.indexOf('=')
      const name = equals < 0 ? pair : pair.slice(0, equals)
      return [decodePercent(name), equals < 0 ? '' : decodePercent(pair.slice(equals + 1))]
    })
  return { rawPath, query }
}

export function queryValue(request: WireRequest, name: string): string | undefined {
  return request.query.find(([found]) => found === name)?.[1]
}

/** Undoes percent-encoding; a plus sign stays one. */
export function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new AwsError('InvalidURI', `Couldn't parse the specified URI: ${text.slice(0, 80)}`)
  }
}

/** RFC 3986: everything but unreserved characters becomes %XX. */
export function encodeStrict(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

export function hashHex(algorithm: 'md5' | 'sha256', bytes: Buffer | string): string {
  return createHash(algorithm).update(bytes).digest('hex')
}
