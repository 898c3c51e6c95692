// Telling a bad image from a broken engine or decoder: one that fails on everything shall not fill a run with failed
// records. It does not know engines, nor where records go.
import { UserError } from '../../schemas/errors.ts'
import type { FailureCode } from '../../schemas/failure.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'

export type LabelledImage = {
  records: readonly LabelRecord[]
  /** Keeps the records. */
  hand: (records: readonly LabelRecord[]) => Promise<void>
  /** Forgets them: the image shall be tried again. */
  refuse?: () => void
}

export type EngineStreak = {
  /** Passes an image's records on, at once or when the engine has answered for another image. */
  image(image: LabelledImage): Promise<void>
  /** Hands over what still waits: no image is left on which the engine could show that it works. */
  rest(): Promise<void>
  /** Refuses what still waits. */
  refuse(): void
  /**
   * Settles what waits when one image is alone with the engine: where the engine has answered before and answers a
   * question of no image now, the image is at fault; else it is refused. Resolves to whether records were handed over.
   */
  settleAlone(answersNow: () => Promise<boolean>): Promise<boolean>
}

/**
 * Records of images on which the engine failed wait until it answers again: when it never does, the fault is not
 * theirs, and the next start shall try them anew. Throws UserError at the `maxFailures`-th in a row.
 */
export function watchEngine({ maxFailures }: { maxFailures: number }): EngineStreak {
  let waiting: LabelledImage[] = []
  let inRow = 0
  let hasAnswered = false
  let isOnTrial = false
  const takeWaiting = () => {
    const taken = waiting
    waiting = []
    return taken
  }
  const rest = async () => {
    for (const { records, hand } of takeWaiting()) await hand(records)
  }
  const refuseAll = () => {
    for (const { refuse } of takeWaiting()) refuse?.()
  }
  return {
    rest,
    refuse: refuseAll,
    async settleAlone(answersNow) {
      if (isOnTrial || waiting.length === 0) return false
      isOnTrial = true
      const isAtFault = hasAnswered && (await answersNow())
      isOnTrial = false
      if (isAtFault) await rest()
      else refuseAll()
      return isAtFault
    },
    async image(image) {
      const { records, hand } = image
      const failure = records.find(isEngineFailure)?.error ?? null
      if (failure !== null) {
        waiting.push(image)
        inRow += 1
        if (inRow >= maxFailures)
          throw new UserError(
            `the engine or the decoder failed on ${maxFailures} images in a row, so the run was stopped; the last: ${failure.message}`,
          )
      }
      if (records.some((record) => record.raw !== null && !isEngineFailure(record))) {
        inRow = 0
        hasAnswered = true
        await rest()
      }
      if (failure === null && records.length > 0) await hand(records)
    },
  }
}

const faults: ReadonlySet<FailureCode | undefined> = new Set([
  'engine-crashed',
  'engine-error',
  'decoder-crashed',
])

/** An image that was not decoded in time is not the engine's fault. */
function isEngineFailure({ error, image }: LabelRecord): boolean {
  if (error?.code === 'timed-out') return image !== null
  return faults.has(error?.code)
}
