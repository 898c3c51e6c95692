// Preloaded (`node --import`) to leave pixel work out of a measure: the decoder's module is exchanged for one that
// gives a tiny image at once. Everything else of the pipeline is the real thing.
import { registerHooks } from 'node:module'

const decoder = new URL('../../gpu-worker/image/decode.ts', import.meta.url).href
const standIn = new URL('./no-decoder.ts', import.meta.url).href

registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    return found.url === decoder && context.parentURL !== standIn ? { ...found, url: standIn } : found
  },
})
