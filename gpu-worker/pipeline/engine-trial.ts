// A question that no image of a run asks: whether an engine answers at all. It does not know what depends on it.
import type { Failure } from '../../schemas/failure.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import type { Engine } from '../engine/contract.ts'

/** Why the engine does not answer a short question about a black image, or null when it does. Throws what it throws. */
export async function tryEngine(engine: Engine, signal: AbortSignal): Promise<Failure | null> {
  const { image, template } = engine.info
  // What runs elsewhere is asked without an image: that it answers is enough.
  const black = image.kind === 'pixels' ? new Float32Array(3 * image.size * image.size) : null
  const session = await engine.openImage(black, signal)
  try {
    const question = 'Describe the image.'
    const [answer] = await session.generate(
      [{ template, history: [], question, maxNewTokens: 2, sampling: greedySampling }],
      signal,
    )
    const { code } = answer?.failure ?? {}
    // What it says to so odd a question is its own business.
    return code === 'engine-error' || code === 'timed-out' ? (answer?.failure ?? null) : null
  } finally {
    await session.close()
  }
}

/** Whether it does. Never rejects. */
export async function engineAnswers(engine: Engine, signal: AbortSignal): Promise<boolean> {
  return await tryEngine(engine, signal).then(
    (failure) => failure === null,
    () => false,
  )
}
