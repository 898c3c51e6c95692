// Random numbers that a name decides: the same name gives the same numbers on every machine. It knows no scenes.
import { createHash } from 'node:crypto'
import { InvariantError } from '../../schemas/errors.ts'

/** The next number, uniform in [0, 1). */
export type Random = () => number

/** A generator of its own for each name: Chris Doty-Humphrey's sfc32, its state the name's sha256. */
export function createRandom(name: string): Random {
  const state = createHash('sha256').update(name).digest()
  let [a, b, c, counter] = [
    state.readInt32LE(0),
    state.readInt32LE(4),
    state.readInt32LE(8),
    state.readInt32LE(12),
  ]
  return () => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return (sum >>> 0) / 2 ** 32
  }
}

/** Uniform in [low, high). */
export function between(random: Random, low: number, high: number): number {
  return low + random() * (high - low)
}

/** A whole number, uniform in [0, end). */
export function below(random: Random, end: number): number {
  return Math.floor(random() * end)
}

/** One of the items, each as likely as the others. Throws InvariantError when there are none. */
export function pick<T>(random: Random, items: readonly T[]): T {
  const item = items[below(random, items.length)]
  if (item === undefined) throw new InvariantError('picked from an empty list')
  return item
}

/** Standard normal, by Box and Muller's transform. */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}
