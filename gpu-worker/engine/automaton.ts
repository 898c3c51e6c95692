// A pattern as an automaton over UTF-8 bytes, made deterministic as far as it is walked. It does not know tokens.
import type { Pattern } from '../../schemas/constraint.ts'
import { UserError } from '../../schemas/errors.ts'

/** Beyond, a pattern is no form of an answer any more. */
const maxStates = 200_000

export type Automaton = {
  readonly start: number
  /** The state behind a byte, or -1 where the pattern goes no further. */
  next(state: number, byte: number): number
  /** Whether the text so far is whole. */
  accepts(state: number): boolean
}

/** Thompson's construction (1968): states with arrows for ranges of bytes, and arrows that take none. */
type Draft = {
  ranges: { from: number; to: number; target: number }[][]
  free: number[][]
}

/** Compiles a pattern. Throws UserError for one of too many states. */
export function compilePattern(pattern: Pattern): Automaton {
  const draft: Draft = { ranges: [], free: [] }
  const start = addState(draft)
  const end = addPattern(draft, pattern, start)
  return lazyDeterministic(draft, { start, end })
}

function addState(draft: Draft): number {
  draft.ranges.push([])
  draft.free.push([])
  if (draft.ranges.length > maxStates)
    throw new UserError(
      `the form of an answer has more than ${maxStates} states; allow fewer repeats or keys`,
    )
  return draft.ranges.length - 1
}

/** Adds a pattern behind a state; returns the state at its end. */
function addPattern(draft: Draft, pattern: Pattern, from: number): number {
  if ('text' in pattern) {
    let at = from
    for (const byte of Buffer.from(pattern.text, 'utf8')) at = addRange(draft, at, [byte, byte])
    return at
  }
  if ('sequence' in pattern) {
    let at = from
    for (const part of pattern.sequence) at = addPattern(draft, part, at)
    return at
  }
  if ('choice' in pattern) {
    const end = addState(draft)
    for (const option of pattern.choice) {
      const begin = addState(draft)
      draft.free[from]?.push(begin)
      draft.free[addPattern(draft, option, begin)]?.push(end)
    }
    return end
  }
  if ('repeat' in pattern) return addRepeat(draft, pattern, from)
  return addCharacter(draft, pattern, from)
}

function addRepeat(
  draft: Draft,
  { repeat, min, max }: Extract<Pattern, { repeat: Pattern }>,
  from: number,
): number {
  let at = from
  for (let count = 0; count < min; count += 1) at = addPattern(draft, repeat, at)
  if (max === null) {
    const loop = addState(draft)
    draft.free[at]?.push(loop)
    draft.free[addPattern(draft, repeat, loop)]?.push(loop)
    return loop
  }
  const end = addState(draft)
  draft.free[at]?.push(end)
  for (let count = min; count < max; count += 1) {
    at = addPattern(draft, repeat, at)
    draft.free[at]?.push(end)
  }
  return end
}

function addRange(draft: Draft, from: number, [low, high]: readonly [number, number]): number {
  const target = addState(draft)
  draft.ranges[from]?.push({ from: low, to: high, target })
  return target
}

/**
 * Characters beyond ASCII by their first bytes, and how many follow (Unicode 15, table 3-7). Overlong forms, surrogates
 * and numbers past the last character are none: a model of byte tokens could spell them, and no text would have them.
 */
const leads: readonly { bytes: readonly (readonly [number, number])[]; following: number }[] = [
  { bytes: [[0xc2, 0xdf]], following: 1 },
  {
    bytes: [
      [0xe0, 0xe0],
      [0xa0, 0xbf],
    ],
    following: 1,
  },
  { bytes: [[0xe1, 0xec]], following: 2 },
  {
    bytes: [
      [0xed, 0xed],
      [0x80, 0x9f],
    ],
    following: 1,
  },
  { bytes: [[0xee, 0xef]], following: 2 },
  {
    bytes: [
      [0xf0, 0xf0],
      [0x90, 0xbf],
    ],
    following: 2,
  },
  { bytes: [[0xf1, 0xf3]], following: 3 },
  {
    bytes: [
      [0xf4, 0xf4],
      [0x80, 0x8f],
    ],
    following: 2,
  },
]

/** States are few, since every schema repeats this: one for each number of bytes to come, and one behind each odd lead. */
function addCharacter(
  draft: Draft,
  { ranges, other }: Extract<Pattern, { ranges: unknown }>,
  from: number,
): number {
  const end = addState(draft)
  for (const [low, high] of ranges) draft.ranges[from]?.push({ from: low, to: high, target: end })
  if (!other) return end
  const toCome = [end]
  for (let count = 1; count <= 3; count += 1) {
    const state = addState(draft)
    draft.ranges[state]?.push({ from: 0x80, to: 0xbf, target: toCome[count - 1] ?? end })
    toCome.push(state)
  }
  for (const { bytes, following } of leads) {
    const [first, second] = bytes
    const target = toCome[following] ?? end
    let at = from
    if (first !== undefined && second !== undefined) at = addRange(draft, from, first)
    const last = second ?? first
    if (last !== undefined) draft.ranges[at]?.push({ from: last[0], to: last[1], target })
  }
  return end
}

const unknown = -2

/** Subset construction, each step when it is first taken. */
function lazyDeterministic(
  { ranges, free }: Draft,
  { start, end }: { start: number; end: number },
): Automaton {
  const numbers = new Map<string, number>()
  const sets: number[][] = []
  const steps: Int32Array[] = []
  const stateOf = (members: Iterable<number>): number => {
    const closed = close(members, free)
    if (closed.length === 0) return -1
    const key = closed.join(' ')
    const known = numbers.get(key)
    if (known !== undefined) return known
    numbers.set(key, sets.length)
    sets.push(closed)
    steps.push(new Int32Array(256).fill(unknown))
    return sets.length - 1
  }
  return {
    start: stateOf([start]),
    accepts: (state) => sets[state]?.includes(end) === true,
    next(state, byte) {
      const row = steps[state]
      const known = row?.[byte] ?? -1
      if (row === undefined || known !== unknown) return known
      const reached = (sets[state] ?? []).flatMap((member) =>
        (ranges[member] ?? [])
          .filter(({ from, to }) => from <= byte && byte <= to)
          .map(({ target }) => target),
      )
      return (row[byte] = stateOf(reached))
    },
  }
}

/** What is reached without a byte; only states that matter are kept, sorted. */
function close(members: Iterable<number>, free: readonly number[][]): number[] {
  const reached = new Set(members)
  for (const state of reached) for (const target of free[state] ?? []) reached.add(target)
  return [...reached].toSorted((a, b) => a - b)
}
