// Which things to ask about that nobody has named: at random, the commonest, or those that usually come along (POPE,
// Li et al. 2023). Pure: the same text gets the same things.
import { z } from 'zod'

/** How common things are, and which come together, counted over some data set. */
export const ObjectStatistics = z.strictObject({
  objects: z
    .array(z.strictObject({ name: z.string().min(1).max(60), count: z.int().nonnegative() }))
    .min(1)
    .max(500)
    .describe('the vocabulary of probes'),
  together: z
    .record(z.string(), z.record(z.string(), z.int().positive()))
    .exactOptional()
    .describe('by thing: in how many images each other thing was with it'),
})
export type ObjectStatistics = z.infer<typeof ObjectStatistics>

export const ProbeSampling = z.enum(['random', 'popular', 'adversarial'])
export type ProbeSampling = z.infer<typeof ProbeSampling>

/** Everyday things, in no order; what is probed for where the user gives no things. */
export const commonThings: readonly string[] = (
  'dog,cat,bird,horse,cow,elephant,bear,apple,banana,orange,carrot,pizza,cake,car,bus,boat,bicycle,umbrella,clock,book,chair,' +
  'star,tree,house,ball,flower'
).split(',')

/** Up to `count` things of the vocabulary that are not among `present`. */
export function chooseAbsent({
  present,
  statistics,
  sampling,
  count,
  seed,
}: {
  present: readonly string[]
  statistics: ObjectStatistics
  sampling: ProbeSampling
  count: number
  seed: string
}): string[] {
  const there = new Set(present.map((name) => name.toLowerCase()))
  // "house plant" beside a "plant": whatever shares a word may well be meant.
  const isAbsent = (name: string) => ![...there].some((one) => sharesWord(one, name.toLowerCase()))
  const candidates = statistics.objects.filter(({ name }) => isAbsent(name))
  const random = seededNumbers(seed)
  const weighed = candidates.map(({ name, count: seen }) => {
    const weight =
      sampling === 'random' ? 0 : sampling === 'popular' ? seen : together(name, { there, statistics })
    return { name, weight, tie: random() }
  })
  return weighed
    .toSorted((a, b) => b.weight - a.weight || a.tie - b.tie)
    .slice(0, count)
    .map(({ name }) => name)
}

function together(
  name: string,
  { there, statistics }: { there: ReadonlySet<string>; statistics: ObjectStatistics },
): number {
  return [...there].reduce((sum, one) => sum + (statistics.together?.[one]?.[name] ?? 0), 0)
}

function sharesWord(left: string, right: string): boolean {
  const words = new Set(left.split(/\s+/))
  return right.split(/\s+/).some((word) => words.has(word))
}

/** Uniform numbers from a text: FNV-1a as the seed of a xorshift generator (Marsaglia 2003). */
export function seededNumbers(seed: string): () => number {
  let state = 0x811c_9dc5
  for (let at = 0; at < seed.length; at += 1) state = Math.imul(state ^ seed.charCodeAt(at), 0x0100_0193)
  state = state === 0 ? 1 : state
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
