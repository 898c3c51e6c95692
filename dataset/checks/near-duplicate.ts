// near-duplicate: nearly the same words about many images, as when a service fails and answers the same each time.
// Example: the fourth image of a run described by one and the same sentence of eight words does not pass.
import type { Check } from './check.ts'
import { proseOf, quote, wordsOf } from './said.ts'

/** Shorter captions are alike because the images are: "A dog." */
const minWords = 8
/** Of other images: a few cats on a sofa are no accident yet. */
const maxCopies = 3

export const nearDuplicate: Check = {
  name: 'near-duplicate',
  summary: `captions of ${minWords} words or more that ${maxCopies} other images of the run have nearly word for word`,
  isDefault: true,
  action: 'filter',
  judge({ output, task, source }, { texts }) {
    const text = proseOf(output)
    const words = text === null ? [] : wordsOf(text)
    if (text === null || words.length < minWords) return null
    // One image under two names may well be described alike.
    const image = `${task} ${source.sha256 ?? source.uri}`
    const near = texts.meet({ words: [task, ...words], subject: source.key, image })
    const score = near?.count ?? 0
    if (near === null || score < maxCopies) return { pass: true, score, evidence: '' }
    return { pass: false, score, evidence: `as of ${quote(near.subject)} and ${score - 1} other images` }
  },
}
