// Jobs one after the other, in the order asked.

export type InTurn = <T>(job: () => Promise<T>) => Promise<T>

/** A queue of its own: each job starts when the one before has ended, however it ended. */
export function createTurnQueue(): InTurn {
  let last: Promise<unknown> = Promise.resolve()
  return (job) => {
    const next = last.then(job, job)
    last = next.catch(() => undefined)
    return next
  }
}
