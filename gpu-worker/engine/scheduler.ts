// Which rows the decoder runs next, as plain data. Pure: sequences in, plan out.
import { masked } from './decoder.ts'

/** One sequence as the scheduler sees it. */
export type PendingSequence = {
  id: number
  /** Tokens whose cache rows are still to be made; after the last one comes the next token. */
  pending: readonly PendingToken[]
}

export type PendingToken = { tokenId: number; position: number }

export type PlannedRow = PendingToken & { sequence: number }

export type StepPlan = {
  rows: readonly PlannedRow[]
  /** Rows that end their sequence's pending tokens, in order: these give logits. */
  logitRows: readonly number[]
}

/** Most rows of one run: bounds the score matrix while long prompts are prefilled. */
export const maxRowsPerStep = 512

/**
 * Takes every sequence's pending tokens in order until the step is full. A sequence that is decoding has one, so all of
 * them advance together; a long prompt goes on in the next step.
 */
export function planStep(sequences: readonly PendingSequence[], maxRows: number = maxRowsPerStep): StepPlan {
  const rows: PlannedRow[] = []
  const logitRows: number[] = []
  for (const { id, pending } of sequences) {
    const taken = pending.slice(0, maxRows - rows.length)
    rows.push(...taken.map((token) => ({ ...token, sequence: id })))
    if (taken.length > 0 && taken.length === pending.length) logitRows.push(rows.length - 1)
    if (rows.length === maxRows) break
  }
  return { rows, logitRows }
}

/**
 * Mask of a step [R, suffix + R]: behind its prefix a row sees the suffix slots of its own sequence, and the rows of its
 * own sequence up to itself.
 */
export function stepMask({
  rows,
  suffixOwners,
}: {
  rows: readonly PlannedRow[]
  suffixOwners: readonly (number | undefined)[]
}): Float32Array {
  const width = suffixOwners.length + rows.length
  const mask = new Float32Array(rows.length * width)
  for (const [index, { sequence }] of rows.entries()) {
    const start = index * width
    mask.fill(masked, start, start + width)
    for (const [slot, owner] of suffixOwners.entries()) {
      if (owner === sequence) mask[start + slot] = 0
    }
    const ownRows = start + suffixOwners.length
    for (let other = 0; other <= index; other++) {
      if (rows[other]?.sequence === sequence) mask[ownRows + other] = 0
    }
  }
  return mask
}
