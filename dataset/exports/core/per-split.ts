// One of something for each part of a split, made when the first image of the part comes. It knows no format.

/** Keeps what `make` made, by stem. */
export function perStem<T>(make: (stem: string) => T): { of(stem: string): T; all(): [string, T][] } {
  const made = new Map<string, T>()
  return {
    of(stem) {
      const known = made.get(stem)
      if (known !== undefined) return known
      const fresh = make(stem)
      made.set(stem, fresh)
      return fresh
    },
    all: () => [...made],
  }
}
