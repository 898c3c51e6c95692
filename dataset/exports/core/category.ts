// The name a phrase gives its boxes where boxes have categories, and numbers for such names. It knows no format.
import { UserError } from '../../../schemas/errors.ts'

/** Distinct names are held in memory; free phrases by the million are no categories. */
const maxCategories = 200_000

/** What a box is called: without the mark that ends a sentence, too, as some tasks name what is at a box in one. */
export function categoryName(phrase: string): string {
  const name = phraseName(phrase)
  return name.replace(/\s*[.,;:!?。]+$/, '') || name
}

/** Lower case, without an article in front: what tells a phrase from a sentence is still there. */
export function phraseName(phrase: string): string {
  const plain = phrase.trim().toLowerCase().replaceAll(/\s+/g, ' ')
  return plain.replace(/^(a|an|the) (?=\S)/, '')
}

/** The number of a phrase's name, from 1. Throws UserError when there are too many names. */
export function categoryId(categories: Map<string, number>, phrase: string): number {
  const name = categoryName(phrase)
  const known = categories.get(name)
  if (known !== undefined) return known
  if (categories.size >= maxCategories)
    throw new UserError(
      `the boxes have over ${maxCategories} different names, too many for categories; narrow the export with --where, or use a format with free phrases`,
    )
  categories.set(name, categories.size + 1)
  return categories.size
}
