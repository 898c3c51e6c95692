// Who may work beside whom: jobs run together, but for those that have to run alone. In the order asked.

export type Company = {
  beside: <T>(job: () => Promise<T>) => Promise<T>
  /** Starts when all before have ended; those behind start when it has. */
  alone: <T>(job: () => Promise<T>) => Promise<T>
}

export function createCompany(): Company {
  const waiting: { isAlone: boolean; start: () => void }[] = []
  let [active, isTaken] = [0, false]
  const admit = (): void => {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      if (isTaken || (next.isAlone && active > 0)) return
      waiting.shift()
      active += 1
      isTaken = next.isAlone
      next.start()
    }
  }
  const enter = async <T>(isAlone: boolean, job: () => Promise<T>): Promise<T> => {
    await new Promise<void>((start) => {
      waiting.push({ isAlone, start })
      admit()
    })
    try {
      return await job()
    } finally {
      active -= 1
      if (isAlone) isTaken = false
      admit()
    }
  }
  return { beside: (job) => enter(false, job), alone: (job) => enter(true, job) }
}
