// The plan of a step and its mask, as data.
import { describe, expect, it } from 'vitest'
import { masked } from '../../gpu-worker/engine/attention-mask.ts'
import { planStep, stepMask } from '../../gpu-worker/engine/scheduler.ts'
import type { PendingSequence } from '../../gpu-worker/engine/scheduler.ts'

function sequence(id: number, count: number, start = 0): PendingSequence {
  return {
    id,
    image: 0,
    prefixLength: 1,
    pending: Array.from({ length: count }, (_, index) => ({
      tokenId: 100 * id + index,
      position: start + index,
    })),
  }
}

/** Letters by sequence, in upper case where a row gives logits. */
function draw(sequences: readonly PendingSequence[], maxRows: number): string {
  const { rows, logitRows } = planStep(sequences, { maxRows })
  return rows.map(({ sequence: id }, row) => (logitRows.includes(row) ? 'ABCDEF' : 'abcdef')[id]).join('')
}

describe('planStep', () => {
  it.each([
    { name: 'nothing to do', sequences: [], maxRows: 8, plan: '' },
    { name: 'a prompt', sequences: [sequence(0, 3)], maxRows: 8, plan: 'aaA' },
    {
      name: 'all that decode advance together',
      sequences: [sequence(0, 1), sequence(1, 1), sequence(2, 1)],
      maxRows: 8,
      plan: 'ABC',
    },
    {
      name: 'decoding goes on beside a prefill',
      sequences: [sequence(0, 1), sequence(1, 3)],
      maxRows: 8,
      plan: 'AbbB',
    },
    {
      name: 'a long prompt is cut without logits',
      sequences: [sequence(0, 1), sequence(1, 9)],
      maxRows: 4,
      plan: 'Abbb',
    },
    {
      name: 'a prompt that just fits has logits',
      sequences: [sequence(0, 4), sequence(1, 1)],
      maxRows: 4,
      plan: 'aaaA',
    },
    {
      name: 'more sequences than rows',
      sequences: [0, 1, 2].map((id) => sequence(id, 1)),
      maxRows: 2,
      plan: 'AB',
    },
    {
      name: 'a sequence without pending tokens takes no row',
      sequences: [sequence(0, 0), sequence(1, 2)],
      maxRows: 4,
      plan: 'bB',
    },
  ])('$name', ({ sequences, maxRows, plan }) => {
    expect(draw(sequences, maxRows)).toBe(plan)
  })

  it('runs every pending token once, in order, whatever the limit', () => {
    for (const maxRows of [1, 2, 3, 7]) {
      const left = [sequence(0, 5), sequence(1, 1), sequence(2, 4)].map(({ id, pending }) => ({
        ...sequence(id, 0),
        pending: [...pending],
      }))
      const run: number[] = []
      let logits = 0
      for (let step = 0; step < 20; step++) {
        const plan = planStep(
          left.filter(({ pending }) => pending.length > 0),
          { maxRows },
        )
        expect(plan.rows.length).toBeLessThanOrEqual(maxRows)
        logits += plan.logitRows.length
        for (const row of plan.rows) run.push(left[row.sequence]?.pending.shift()?.tokenId ?? -1)
      }
      expect(run.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 100, 200, 201, 202, 203])
      for (const id of [0, 1, 2])
        expect(run.filter((token) => Math.floor(token / 100) === id)).toEqual(
          run.filter((token) => Math.floor(token / 100) === id).toSorted((a, b) => a - b),
        )
      expect(logits).toBe(3)
    }
  })
})

describe('images in a step', () => {
  it('stand together, up to four whose prefixes are as long as the first one', () => {
    const of = (id: number, image: number, prefixLength = 9): PendingSequence => ({
      ...sequence(id, 1),
      image,
      prefixLength,
    })
    const { rows, slots } = planStep([
      of(0, 7),
      of(1, 3),
      of(2, 7),
      of(3, 5, 1),
      of(4, 1),
      of(5, 2),
      of(6, 9),
      of(7, 3),
    ])
    expect(rows.map(({ sequence: id }) => id)).toEqual([0, 2, 1, 7, 4, 5])
    expect(slots).toEqual([
      { image: 7, rowCount: 2 },
      { image: 3, rowCount: 2 },
      { image: 1, rowCount: 1 },
      { image: 2, rowCount: 1 },
    ])
  })
})

describe('stepMask', () => {
  it('shows a row its own slots and its own rows up to itself', () => {
    const { rows } = planStep([sequence(0, 2), sequence(1, 1)])
    const mask = stepMask({ rows, suffixOwners: [1, undefined, 0, 1] })
    const drawing = Array.from({ length: 3 }, (_, row) =>
      Array.from(mask.slice(row * 7, row * 7 + 7), (value) => (value === 0 ? 'x' : '.')).join(''),
    )
    //                       slots rows
    expect(drawing).toEqual(['..x.' + 'x..', '..x.' + 'xx.', 'x..x' + '..x'])
    expect([...mask].every((value) => value === 0 || value === Math.fround(masked))).toBe(true)
  })

  it('hides completely: the exponential beside any score is zero', () => {
    expect(Math.exp(Math.fround(masked) + 1e6)).toBe(0)
    expect(Math.fround(masked)).toBeGreaterThan(-Infinity)
  })
})
