// The breaker of a run that many workers label: what sealers count, when they pause, and what a person's word does.
import { describe, expect, test } from 'vitest'
import { defaultHealthLimits } from '../../../dataset/checks/health.ts'
import { guardRun, readRunHealth, tallyLines } from '../../../dataset/checks/run-health.ts'
import { writePart } from '../../../dataset/parts.ts'
import { controlRun, readControl } from '../../../dataset/run-control.ts'
import { openRun } from '../../../dataset/run-folder.ts'
import { sealRun } from '../../../dataset/seal.ts'
import { readChain } from '../../../dataset/chain.ts'
import { openMemoryStore } from '../../../dataset/stores/memory.ts'
import type { HealthSetting } from '../../../schemas/health.ts'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import { someRecord, someRun } from '../../helpers/records.ts'

const limits = { ...defaultHealthLimits, window: 40 }

type Made = { from?: number; count: number; badEvery?: number; text?: string }

/** Records of which every `badEvery`-th is a refusal. */
function records({ from = 0, count, badEvery = Infinity, text = 'a dog on a lawn' }: Made): LabelRecord[] {
  return Array.from({ length: count }, (_, n) => ({
    ...someRecord({ key: `${from + n}`, text }),
    checks: [{ name: 'refusal', pass: (n + 1) % badEvery !== 0, score: 0, evidence: '' }],
  }))
}

async function open(health: HealthSetting = limits) {
  const store = openMemoryStore()
  const state = { nowMs: Date.parse('2026-01-01') }
  const config = await openRun(store, { wanted: { ...someRun, health }, now: new Date(state.nowMs) })
  const now = () => new Date((state.nowMs += 1000))
  const { runId } = config
  return {
    store,
    config,
    now,
    /** One sealer's turn, as the function has it: null when the run may go on. */
    async turn(made: Made | null): Promise<string | null> {
      if (made !== null) await writePart(store, records(made))
      const { generations, lastGeneration } = await sealRun({ store, runId, clock: now, tally: tallyLines })
      return generations === 0 ? null : await guardRun({ store, config, lastGeneration, now: now() })
    },
  }
}

describe('a run whose labels go bad', () => {
  test('is paused at the generation that is past a limit, with the reason beside the pause', async () => {
    const { store, turn } = await open()
    expect(await turn({ count: 60 })).toBeNull()
    const reason = await turn({ from: 60, count: 60, badEvery: 10 })
    expect(reason).toBe('refusals 10.0 % over the last 60 records; the limit is 2.0 %')
    expect(await readControl(store)).toMatchObject({
      state: 'paused',
      entries: 1,
      last: { v: 3, action: 'pause', cause: 'health', reason },
    })
  })

  test('is judged by whole generations from the end, as many as it takes', async () => {
    const { turn } = await open()
    for (let n = 0; n < 8; n += 1) expect(await turn({ from: n * 5, count: 5 })).toBeNull()
    // Of the last forty: one, two, three, four refusals are chance, five are one in eight.
    const trips = []
    for (let n = 8; n < 14; n += 1) trips.push(await turn({ from: n * 5, count: 5, badEvery: 5 }))
    expect(trips.slice(0, 4)).toEqual([null, null, null, null])
    expect(trips[4]).toBe('refusals 12.5 % over the last 40 records; the limit is 2.0 %')
  })

  test('is paused when captions become twice as long as at its beginning', async () => {
    const { turn } = await open()
    expect(await turn({ count: 50 })).toBeNull()
    expect(await turn({ from: 50, count: 50 })).toBeNull()
    const long = 'a dog on a lawn beside a house with a red roof and a cat'
    expect(await turn({ from: 100, count: 50, text: long })).toMatch(/^captions 3\.0 times as long or short/)
  })

  test('is paused once, however many sealers see it at the same time', async () => {
    const { store, config, now } = await open()
    await writePart(store, records({ count: 50, badEvery: 5 }))
    const turns = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const { lastGeneration } = await sealRun({
          store,
          runId: config.runId,
          clock: now,
          tally: tallyLines,
        })
        return await guardRun({ store, config, lastGeneration, now: now() })
      }),
    )
    expect(turns.some((reason) => reason !== null)).toBe(true)
    expect(await readControl(store)).toMatchObject({ state: 'paused', entries: 1 })
  })

  test('goes on when a person says so, and is judged by what comes after', async () => {
    const { store, turn, now } = await open()
    expect(await turn({ count: 50, badEvery: 5 })).not.toBeNull()
    await controlRun(store, { action: 'resume', now: now() })
    expect(await turn({ from: 50, count: 30, badEvery: 5 })).toBeNull()
    expect(await turn({ from: 80, count: 30, badEvery: 5 })).toMatch(/^refusals 20\.0 % over the last 60/)
    await controlRun(store, { action: 'resume', health: 'off', now: now() })
    expect(await turn({ from: 110, count: 90, badEvery: 1 })).toBeNull()
    expect(await readControl(store)).toMatchObject({ state: 'running', health: 'off' })
  })

  test.each([-3_600_000, 3_600_000])(
    'is judged by what comes after the resume, also where the clock of who resumed is %i ms off',
    async (offMs) => {
      const { store, turn, now } = await open()
      expect(await turn({ count: 50, badEvery: 5 })).not.toBeNull()
      await controlRun(store, { action: 'resume', now: new Date(now().getTime() + offMs) })
      expect(await turn({ from: 50, count: 30, badEvery: 5 })).toBeNull()
      expect(await turn({ from: 80, count: 30, badEvery: 5 })).toMatch(/^refusals 20\.0 % over the last 60/)
    },
  )

  test('is not paused against a person who has resumed it meanwhile', async () => {
    const { store, config, turn, now } = await open('off')
    await turn({ count: 50, badEvery: 2 })
    const decidedAt = await readControl(store)
    await controlRun(store, { action: 'pause', now: now() })
    await controlRun(store, { action: 'resume', now: now() })
    await controlRun(store, { action: 'pause', cause: 'health', reason: 'old', now: now(), decidedAt })
    expect(await readControl(store)).toMatchObject({ state: 'running', entries: 2 })
    expect(await readRunHealth(store, { config, standing: decidedAt, lastGeneration: 1 })).toBeNull()
  })
})

test('what is delivered three times counts once, and failed records not at all', async () => {
  const { store, config, now } = await open()
  const made = records({ count: 60, badEvery: 30 })
  const again = made.filter(({ checks }) => checks[0]?.pass === false)
  // Parts of three workers that all had the message with the two refusals.
  for (const part of [made, again, [...again, someRecord({ key: 'broken', status: 'failed' })]])
    await writePart(store, part)
  const { lastGeneration } = await sealRun({ store, runId: config.runId, clock: now, tally: tallyLines })
  await writePart(store, [...again, someRecord({ key: 'other', status: 'failed' })])
  await sealRun({ store, runId: config.runId, clock: now, tally: tallyLines })
  const tallies = []
  for await (const { manifest } of readChain(store)) tallies.push(manifest.health)
  expect(tallies).toEqual([
    {
      records: 60,
      checks: { refusal: { judged: 60, found: 2 } },
      words: { caption: { texts: 60, words: 300 } },
    },
    { records: 0, checks: {}, words: {} },
  ])
  expect(await guardRun({ store, config, lastGeneration, now: now() })).toBeNull()
})

test('generations that nobody counted are no evidence', async () => {
  const { store, config, now, turn } = await open()
  await writePart(store, records({ count: 50, badEvery: 2 }))
  await sealRun({ store, runId: config.runId, clock: now })
  expect(await turn({ from: 50, count: 10 })).toBeNull()
  const standing = await readControl(store)
  expect(await readRunHealth(store, { config, standing, lastGeneration: 2 })).toMatchObject({
    records: 10,
    tripped: null,
  })
})
