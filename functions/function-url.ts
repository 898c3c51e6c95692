// A function URL's event as a request of the web, and back. It does not know what is asked.
import { z } from 'zod'

/** Of payload format 2.0 what is used: docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html. */
const UrlEvent = z.object({
  rawPath: z.string(),
  rawQueryString: z.string().default(''),
  headers: z.record(z.string(), z.string()).default({}),
  body: z.string().optional(),
  isBase64Encoded: z.boolean().default(false),
  requestContext: z.object({
    domainName: z.string().min(1),
    http: z.object({ method: z.string() }),
    authorizer: z.object({ iam: z.object({ userArn: z.string().min(1) }) }).optional(),
  }),
})

export type UrlAnswer = {
  statusCode: number
  headers: Record<string, string>
  body: string
  isBase64Encoded: boolean
}

/** The request, and who signed it: null when the URL asks for no signature. */
export function readUrlEvent(event: unknown): { request: Request; signer: string | null } {
  const { rawPath, rawQueryString, headers, body, isBase64Encoded, requestContext } = UrlEvent.parse(event)
  const { domainName, http, authorizer } = requestContext
  const query = rawQueryString === '' ? '' : `?${rawQueryString}`
  const hasBody = body !== undefined && !['GET', 'HEAD'].includes(http.method)
  const request = new Request(new URL(`${rawPath}${query}`, `https://${domainName}`), {
    method: http.method,
    headers,
    ...(hasBody ? { body: isBase64Encoded ? Buffer.from(body, 'base64') : body } : {}),
  })
  return { request, signer: authorizer?.iam.userArn ?? null }
}

/** The whole answer; pictures go as base64. */
export async function writeUrlAnswer(response: Response): Promise<UrlAnswer> {
  const bytes = Buffer.from(await response.arrayBuffer())
  const isText = /^(text\/|application\/json|image\/svg)/.test(response.headers.get('content-type') ?? '')
  return {
    statusCode: response.status,
    headers: Object.fromEntries(response.headers),
    body: bytes.toString(isText ? 'utf8' : 'base64'),
    isBase64Encoded: !isText,
  }
}
