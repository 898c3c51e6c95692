// Whole numbers that were seen, a bit each: ids that count upwards by the million take no memory worth the name.
// It does not know what they number.
import { InvariantError, UserError } from '../../../schemas/errors.ts'

/** Ids of one page lie together; a page is made when its first id comes. */
const idsOfPage = 65_536

/** Ids that lie far apart take 8 KiB each; nobody numbers so, and a file that does is not to fill the memory. */
const maxPages = 65_536

export class IdSet {
  readonly #pages = new Map<number, Uint8Array>()

  /** False when it is there already. Ask `isId` first. Throws UserError for ids that are spread too far. */
  add(id: number): boolean {
    const { page, byte, bit } = placeOf(id)
    let bits = this.#pages.get(page)
    if (bits === undefined) {
      if (this.#pages.size >= maxPages)
        throw new UserError(
          `the ids of a file lie in more than ${maxPages} ranges of ${idsOfPage}; expected ids that count upwards, number them so`,
        )
      bits = new Uint8Array(idsOfPage / 8)
      this.#pages.set(page, bits)
    }
    const before = bits[byte] ?? 0
    bits[byte] = before | bit
    return (before & bit) === 0
  }

  has(id: number): boolean {
    if (!isId(id)) return false
    const { page, byte, bit } = placeOf(id)
    return ((this.#pages.get(page)?.[byte] ?? 0) & bit) !== 0
  }
}

export function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function placeOf(id: number): { page: number; byte: number; bit: number } {
  if (!Number.isSafeInteger(id) || id < 0)
    throw new InvariantError(`an id is ${id}; expected a whole number from 0`)
  const inPage = id % idsOfPage
  return { page: Math.floor(id / idsOfPage), byte: inPage >> 3, bit: 1 << (inPage & 7) }
}
