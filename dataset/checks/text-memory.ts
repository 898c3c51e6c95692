// What was said of other images of a run, found again by likeness: MinHash over pairs of words. It does not know records.

/** Texts that are remembered; the older half is forgotten beyond. Up to about 1 kB each. */
const defaultMaxTexts = 100_000

/** Shared pairs of words out of all of both (Jaccard): one word in ten may differ. */
const nearShare = 0.7

/** Eight bands of two: of texts that share 0.7 of their pairs, 99.5 % meet in one of them. */
const bandCount = 8
const hashesPerBand = 2

/** Texts that are compared in one band: a sentence said of thousands of images is known long before. */
const maxLooked = 200

/** Pairs of words that are compared. */
const maxPairs = 256

type Remembered = { pairs: ReadonlySet<number>; bands: readonly string[]; subject: string; image: string }

export type NearText = { subject: string; count: number }

/** A class, because it holds what was said so far. */
export class TextMemory {
  readonly #maxTexts: number
  #byBand = new Map<string, Remembered[]>()
  #order: Remembered[] = []

  constructor(maxTexts = defaultMaxTexts) {
    this.#maxTexts = maxTexts
  }

  /** How many other images said nearly these words, and the first of them; remembers these. */
  meet({
    words,
    subject,
    image,
  }: {
    words: readonly string[]
    subject: string
    image: string
  }): NearText | null {
    const pairs = pairsOf(words)
    const one = { pairs, bands: bandsOf(pairs), subject, image }
    const others = new Map<string, string>()
    for (const band of one.bands) {
      for (const known of (this.#byBand.get(band) ?? []).slice(0, maxLooked)) {
        const isNear =
          known.image !== image && !others.has(known.image) && likeness(known.pairs, pairs) >= nearShare
        if (isNear) others.set(known.image, known.subject)
      }
    }
    this.#order.push(one)
    this.#index(one)
    if (this.#order.length > this.#maxTexts) this.#forgetHalf()
    const first = others.values().next().value
    return first === undefined ? null : { subject: first, count: others.size }
  }

  #index(one: Remembered): void {
    for (const band of one.bands) {
      const held = this.#byBand.get(band)
      if (held === undefined) this.#byBand.set(band, [one])
      else held.push(one)
    }
  }

  #forgetHalf(): void {
    this.#order = this.#order.slice(Math.floor(this.#maxTexts / 2))
    this.#byBand = new Map()
    for (const one of this.#order) this.#index(one)
  }
}

/** Each pair of neighbouring words as a number. */
function pairsOf(words: readonly string[]): Set<number> {
  const pairs = words.slice(1).map((word, index) => hashText(`${words[index] ?? ''} ${word}`))
  return new Set(pairs.slice(0, maxPairs))
}

/** FNV-1a, 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c_9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x0100_0193)
  return hash >>> 0
}

/** The smallest value of the set under each of a family of hashes, two to a band. */
function bandsOf(pairs: ReadonlySet<number>): string[] {
  return Array.from({ length: bandCount }, (_, band) => {
    const smallest = Array.from({ length: hashesPerBand }, (__, row) => {
      const salt = Math.imul(band * hashesPerBand + row + 1, 0x9e37_79b1)
      let least = 0xffff_ffff
      for (const pair of pairs) least = Math.min(least, mix(pair ^ salt))
      return least
    })
    return `${band}:${smallest.join(':')}`
  })
}

/** The finaliser of MurmurHash3, a permutation of 32 bits. */
function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85eb_ca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

function likeness(left: ReadonlySet<number>, right: ReadonlySet<number>): number {
  let shared = 0
  for (const pair of left) if (right.has(pair)) shared += 1
  const all = left.size + right.size - shared
  return all === 0 ? 0 : shared / all
}
