// What the server told of images, kept for the ones around where the reviewer is. It does not know the page.
import { askImage } from './api.js'

/** @typedef {import('./api.js').ImageFacts} ImageFacts */

/** The one in sight, its neighbours, and the way back. */
const maxKept = 12

/** @returns {(item: import('./api.js').Item) => Promise<ImageFacts>} */
export function keepFacts() {
  /** @type {Map<number, Promise<ImageFacts>>} */
  const kept = new Map()
  return async (item) => {
    const { image } = item
    const known = kept.get(image) ?? askImage(item)
    kept.delete(image)
    kept.set(image, known)
    known.catch(() => kept.delete(image))
    const [oldest] = kept.keys()
    if (kept.size > maxKept && oldest !== undefined) kept.delete(oldest)
    return await known
  }
}
