// Which rows the decoder runs next, as plain data. Pure: sequences in, plan out.
import { prefixSlots } from '../../schemas/model-manifest.ts'
import { masked } from './attention-mask.ts'

/** One sequence as the scheduler sees it. */
export type PendingSequence = {
  id: number
  /** Whose prefix it stands behind, and how many rows that has. */
  image: number
  prefixLength: number
  /** Tokens whose cache rows are still to be made; after the last one comes the next token. */
  pending: readonly PendingToken[]
}

export type PendingToken = { tokenId: number; position: number }

export type PlannedRow = PendingToken & { sequence: number }

export type StepPlan = {
  rows: readonly PlannedRow[]
  /** Rows that end their sequence's pending tokens, in order: these give logits. */
  logitRows: readonly number[]
  /** The images of the rows, in order, each with the number of its rows. */
  slots: readonly { image: number; rowCount: number }[]
}

/** Most rows of one run: bounds the score matrix while long prompts are prefilled. */
export const maxRowsPerStep = 512

/**
 * Takes every sequence's pending tokens in order until the step is full. A sequence that is decoding has one, so all of
 * them advance together; a long prompt goes on in the next step. Rows of one image lie together. Beside the first
 * sequence's image stand others whose prefixes are as long, where the graph has slots for them; the rest wait until one of them is done.
 */
export function planStep(
  sequences: readonly PendingSequence[],
  { maxSlots = prefixSlots, maxRows = maxRowsPerStep }: { maxSlots?: number; maxRows?: number } = {},
): StepPlan {
  const rows: PlannedRow[] = []
  const logitRows: number[] = []
  const slots: StepPlan['slots'][number][] = []
  for (const own of imagesOf(sequences, maxSlots)) {
    const before = rows.length
    for (const { id, pending } of own.sequences) {
      const taken = pending.slice(0, maxRows - rows.length)
      rows.push(...taken.map((token) => ({ ...token, sequence: id })))
      if (taken.length > 0 && taken.length === pending.length) logitRows.push(rows.length - 1)
      if (rows.length === maxRows) break
    }
    if (rows.length > before) slots.push({ image: own.image, rowCount: rows.length - before })
    if (rows.length === maxRows) break
  }
  return { rows, logitRows, slots }
}

function imagesOf(
  sequences: readonly PendingSequence[],
  maxSlots: number,
): { image: number; sequences: PendingSequence[] }[] {
  const first = sequences.find(({ pending }) => pending.length > 0)
  const alike = sequences.filter(
    ({ prefixLength, pending }) => pending.length > 0 && prefixLength === first?.prefixLength,
  )
  const byImage = [...Map.groupBy(alike, ({ image }) => image)].slice(0, maxSlots)
  return byImage.map(([image, own]) => ({ image, sequences: own }))
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
