// Which of a model's weights are in memory: all of them, or no more than a stage needs. Sessions are opened and closed
// here; a session's mapped pages and its working memory go when it is closed. Knows no graph.
import type { Session } from './session.ts'

/** Runs a job with the session that its stage needs. One job at a time. */
export type Residence = {
  tower<T>(job: Job<T>): Promise<T>
  /** Rows of an image, which touch both experts. */
  prefill<T>(job: Job<T>): Promise<T>
  /** Rows of text, which touch the language expert only. */
  step<T>(job: Job<T>): Promise<T>
  close(): Promise<void>
}

type Job<T> = (session: Session) => Promise<T>
type Openers = { openTower: () => Promise<Session>; openDecoder: () => Promise<Session> }

/** Opens both graphs, to stay. */
export async function openBoth({ openTower, openDecoder }: Openers): Promise<Residence> {
  const tower = await openTower()
  const decoder = await openDecoder()
  return {
    tower: (job) => job(tower),
    prefill: (job) => job(decoder),
    step: (job) => job(decoder),
    close: async () => {
      await tower.close()
      await decoder.close()
    },
  }
}

/**
 * Opens each graph when it is needed. The tower is there for one image, and the decoder is opened anew between an image
 * and what is not one, which leaves out the visual expert: its pages come in when they are first read.
 */
export async function openInTurns({ openTower, openDecoder }: Openers): Promise<Residence> {
  // Both once, so that what is wrong with either shows now, and weights are packed.
  await openTower().then((tower) => tower.close())
  let decoder: Session | undefined = await openDecoder()
  let hasImagePages = false
  const leave = async (): Promise<void> => {
    await decoder?.close()
    decoder = undefined
    hasImagePages = false
  }
  const enter = async (): Promise<Session> => {
    decoder ??= await openDecoder()
    return decoder
  }
  return {
    tower: async (job) => {
      if (hasImagePages) await leave()
      const tower = await openTower()
      try {
        return await job(tower)
      } finally {
        await tower.close()
      }
    },
    prefill: async (job) => {
      const session = await enter()
      hasImagePages = true
      return await job(session)
    },
    step: async (job) => {
      if (hasImagePages) await leave()
      return await job(await enter())
    },
    close: leave,
  }
}
