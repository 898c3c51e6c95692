// Who is let into the cache, as data.
import { describe, expect, it } from 'vitest'
import { maxSequences, planAdmission, prefixBytes } from '../../gpu-worker/engine/cache-budget.ts'
import type { CacheState } from '../../gpu-worker/engine/cache-budget.ts'
import { seededUniform } from '../helpers/random-checkpoint.ts'

const needs = { limitBytes: 1000, rowBytes: 1, longestRows: 300 }
const nobody = { openBytes: 0, runningRows: 0, runningCount: 0, opening: undefined, waiting: [] }

describe('planAdmission', () => {
  it.each([
    { name: 'nobody', state: {}, opens: false, joins: 0 },
    { name: 'a first image', state: { opening: 400 }, opens: true, joins: 0 },
    { name: 'a second image', state: { openBytes: 300, opening: 400 }, opens: true, joins: 0 },
    {
      name: 'an image that would leave no room for the longest sequence waits',
      state: { openBytes: 400, opening: 400 },
      opens: false,
      joins: 0,
    },
    {
      name: 'an image that has no room beside those that run waits',
      state: { openBytes: 100, runningRows: 600, runningCount: 3, opening: 400 },
      opens: false,
      joins: 0,
    },
    {
      name: 'sequences that fit join',
      state: { openBytes: 400, waiting: [200, 200] },
      opens: false,
      joins: 2,
    },
    {
      name: 'the first that does not fit keeps those behind it waiting',
      state: { openBytes: 400, runningRows: 300, runningCount: 1, waiting: [200, 200, 1] },
      opens: false,
      joins: 1,
    },
    {
      name: 'an opening counts before sequences do',
      state: { openBytes: 300, opening: 400, waiting: [200, 200] },
      opens: true,
      joins: 1,
    },
    {
      name: 'more sequences than run at once wait',
      state: { runningCount: maxSequences - 1, waiting: [1, 1] },
      opens: false,
      joins: 1,
    },
  ])('$name', ({ state, opens, joins }) => {
    expect(planAdmission(needs, { ...nobody, ...state })).toEqual({ opens, joins })
  })

  it('never promises more than the limit, and never leaves all waiting when nothing runs', () => {
    const uniform = seededUniform(5)
    const draw = (most: number): number => Math.floor(uniform() * most)
    const open: number[] = []
    const running: number[] = []
    const waiting: number[] = []
    for (let turn = 0; turn < 5000; turn++) {
      if (waiting.length < 20) waiting.push(1 + draw(needs.longestRows))
      const openBytes = open.reduce((sum, bytes) => sum + bytes, 0)
      const state: CacheState & { runningCount: number } = {
        openBytes,
        runningRows: running.reduce((sum, rows) => sum + rows, 0),
        runningCount: running.length,
        opening: 50 + draw(400),
        waiting,
      }
      const { opens, joins } = planAdmission(needs, state)
      expect(opens || joins > 0 || running.length > 0).toBe(true)
      if (opens) open.push(state.opening ?? 0)
      running.push(...waiting.splice(0, joins))
      const held = [...open, ...running].reduce((sum, bytes) => sum + bytes, 0)
      expect(held).toBeLessThanOrEqual(needs.limitBytes)
      if (draw(3) === 0) running.shift()
      if (draw(4) === 0 || open.length > 2) open.shift()
    }
  })
})

it('an image in bytes takes a bit more than a quarter', () => {
  const shape = { layerCount: 2, kvHeadCount: 3, headDim: 64 }
  expect(prefixBytes(shape, { rows: 1228, format: 'fp32' })).toBe(2 * 3 * 2 * 64 * 4 * 1228)
  expect(prefixBytes(shape, { rows: 1228, format: 'int8' })).toBe(2 * 3 * 2 * 64 * 1232)
})
