// One of something for each part of a split, made when the first image of the part comes. It knows no format.

export type PerStem<T> = {
  of(stem: string): T
  /** All that were made; without any that of the fallback, so that a script finds an empty file and not nothing. */
  all(fallback: string): T[]
}

/** Keeps what `make` made, by stem. */
export function perStem<T>(make: (stem: string) => T): PerStem<T> {
  const made = new Map<string, T>()
  const of = (stem: string): T => {
    const known = made.get(stem)
    if (known !== undefined) return known
    const fresh = make(stem)
    made.set(stem, fresh)
    return fresh
  }
  return { of, all: (fallback) => (made.size === 0 ? [of(fallback)] : [...made.values()]) }
}
