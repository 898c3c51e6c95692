// ECS shall not scale a task in while it works: the container agent is told so, again and again, and told when the work
// is over. An agent that does not answer is no reason to stop. It does not know queues or messages.
import type { Clock } from '../../dataset/queues/clock.ts'
import type { WorkerEvent } from '../pipeline/worker-loop.ts'

export type ProtectionLimits = {
  /** How long the agent protects the task for when it hears nothing more; ECS takes whole minutes. */
  expiresInMinutes: number
  renewEveryMs: number
  /** A failed request is not made again before. */
  retryMs: number
  /** Between two messages a worker is not idle. */
  idleMs: number
  /** How often this looks whether something is due. */
  tickMs: number
  requestMs: number
}

export const defaultProtectionLimits: ProtectionLimits = {
  expiresInMinutes: 20,
  renewEveryMs: 10 * 60_000,
  retryMs: 30_000,
  idleMs: 20_000,
  tickMs: 5000,
  requestMs: 5000,
}

export type TaskProtection = {
  /** Learns from the loop whether messages are held. */
  event(event: WorkerEvent): void
  /** Keeps the agent told until the signal fires; then takes the protection off. Never rejects. */
  keep(signal: AbortSignal): Promise<void>
}

type Options = {
  /** ECS_AGENT_URI. */
  agentUri: string
  clock: Clock
  limits?: ProtectionLimits
  onError: (error: unknown) => void
}

export type ProtectionState = {
  held: number
  /** When a message was held last. */
  busyAtMs: number
  isOn: boolean
  toldAtMs: number
  failedAtMs: number
}

/** Starts unprotected. */
export function openTaskProtection({
  agentUri,
  clock,
  limits = defaultProtectionLimits,
  onError,
}: Options): TaskProtection {
  const state: ProtectionState = {
    held: 0,
    busyAtMs: -Infinity,
    isOn: false,
    toldAtMs: -Infinity,
    failedAtMs: -Infinity,
  }
  let wake = new AbortController()
  const tell = async (isOn: boolean) => {
    try {
      await putState(agentUri, { isOn, limits })
      Object.assign(state, { isOn, toldAtMs: clock.nowMs(), failedAtMs: -Infinity })
    } catch (error) {
      state.failedAtMs = clock.nowMs()
      onError(error)
    }
  }
  return {
    event(event) {
      const wasHeld = state.held
      if (event.kind === 'received') state.held += event.messages
      else if (['acked', 'ack-failed', 'lease-lost', 'released'].includes(event.kind)) state.held -= 1
      if (state.held > 0 || wasHeld > 0) state.busyAtMs = clock.nowMs()
      // The first message is not left unprotected until the next look.
      if (wasHeld === 0 && state.held > 0) wake.abort()
    },
    async keep(signal) {
      while (!signal.aborted) {
        const wanted = planProtection(state, { nowMs: clock.nowMs(), limits })
        if (wanted !== null) await tell(wanted)
        await clock.sleep(limits.tickMs, AbortSignal.any([signal, wake.signal]))
        wake = new AbortController()
      }
      if (state.isOn) await tell(false)
    },
  }
}

/** What the agent has to be told now: on, off, or nothing. */
export function planProtection(
  { held, busyAtMs, isOn, toldAtMs, failedAtMs }: ProtectionState,
  { nowMs, limits }: { nowMs: number; limits: ProtectionLimits },
): boolean | null {
  if (nowMs - failedAtMs < limits.retryMs) return null
  if (held === 0) return isOn && nowMs - busyAtMs >= limits.idleMs ? false : null
  return isOn && nowMs - toldAtMs < limits.renewEveryMs ? null : true
}

async function putState(
  agentUri: string,
  { isOn, limits }: { isOn: boolean; limits: ProtectionLimits },
): Promise<void> {
  const response = await fetch(`${agentUri}/task-protection/v1/state`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ProtectionEnabled: isOn,
      ...(isOn ? { ExpiresInMinutes: limits.expiresInMinutes } : {}),
    }),
    signal: AbortSignal.timeout(limits.requestMs),
  })
  const answer = await response.text()
  // A refusal may come with status 200; it then says `failure` in place of `protection`.
  if (response.ok && !/"(failure|error)"\s*:\s*\{/.test(answer)) return
  throw new Error(`the ECS agent answered ${response.status}: ${answer.slice(0, 300)}`)
}
