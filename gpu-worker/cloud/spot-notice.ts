// Two minutes before EC2 takes a spot instance back it says so in the instance's metadata (IMDSv2). It does not know
// what is done about it.
import { z } from 'zod'
import type { Clock } from '../../dataset/queues/clock.ts'

export type SpotLimits = {
  /** AWS advises to look every five seconds. */
  pollMs: number
  requestMs: number
  tokenSeconds: number
}

export const defaultSpotLimits: SpotLimits = { pollMs: 5000, requestMs: 2000, tokenSeconds: 6 * 60 * 60 }

export type SpotNotice = { action: string; atMs: number }

/** `hibernate` comes without a warning time; what is known of it is enough to stop. */
const Notice = z.object({ action: z.string().max(40), time: z.iso.datetime({ offset: true }) })

type Options = {
  /** http://169.254.169.254, or what stands for it. */
  endpoint: string
  clock: Clock
  limits?: SpotLimits
  /** Told once of the first trouble after things went well: a server that is away is asked again and again. */
  onError: (error: unknown) => void
}

/** Looks until there is a notice or the signal fires; null then. Never rejects. */
export async function waitForSpotNotice(
  { endpoint, clock, limits = defaultSpotLimits, onError }: Options,
  signal: AbortSignal,
): Promise<SpotNotice | null> {
  let token: string | null = null
  let isWell = true
  while (!signal.aborted) {
    try {
      token ??= await fetchToken(endpoint, limits)
      const found = await look(endpoint, { token, limits })
      if (found === 'token-refused') token = null
      else if (found !== null) return found
      isWell = true
    } catch (error) {
      if (isWell) onError(error)
      isWell = false
    }
    await clock.sleep(limits.pollMs, signal)
  }
  return null
}

async function fetchToken(endpoint: string, limits: SpotLimits): Promise<string> {
  const response = await fetch(`${endpoint}/latest/api/token`, {
    method: 'PUT',
    headers: { 'x-aws-ec2-metadata-token-ttl-seconds': String(limits.tokenSeconds) },
    signal: AbortSignal.timeout(limits.requestMs),
  })
  if (response.ok) return await response.text()
  throw new Error(`the metadata service gave no token: status ${response.status}`)
}

async function look(
  endpoint: string,
  { token, limits }: { token: string; limits: SpotLimits },
): Promise<SpotNotice | 'token-refused' | null> {
  const response = await fetch(`${endpoint}/latest/meta-data/spot/instance-action`, {
    headers: { 'x-aws-ec2-metadata-token': token },
    signal: AbortSignal.timeout(limits.requestMs),
  })
  const body = await response.text()
  if (response.status === 404) return null
  if (response.status === 401) return 'token-refused'
  if (!response.ok) throw new Error(`the metadata service answered ${response.status}`)
  const { action, time } = Notice.parse(JSON.parse(body))
  return { action, atMs: Date.parse(time) }
}
