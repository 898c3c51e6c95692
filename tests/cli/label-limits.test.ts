// What ends `coglabel label` early, what is labelled anew, and what run.json says of it.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runLabel } from '../../cli/label.ts'
import { parseLabelFlags } from '../../cli/label-flags.ts'
import { timeLimit, watchStop } from '../../cli/label-stop.ts'
import { compareKeys } from '../../dataset/stores/object-store.ts'
import type { PromptRequest } from '../../gpu-worker/engine/contract.ts'
import { UserError } from '../../schemas/errors.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { RunReport } from '../../schemas/run-report.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng, writeImages } from '../helpers/images.ts'
import { openLabelRoot } from '../helpers/label-root.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

type Answer = (request: PromptRequest, pixelsHash: string) => string | undefined

async function label(
  args: readonly string[],
  { delayMs = 0, answer }: { delayMs?: number; answer?: Answer } = {},
) {
  const engine = openCountingEngine({ delayMs, ...(answer === undefined ? {} : { answer }) })
  const { root, printed } = openLabelRoot(engine)
  const code = await runLabel(args, root)
  return { code, out: printed.join('\n'), images: engine.counts.images }
}

async function readRecords(out: string): Promise<LabelRecord[]> {
  const lines = (await readFile(join(out, 'labels.jsonl'), 'utf8')).trimEnd().split('\n')
  return lines.map((line) => LabelRecord.parse(JSON.parse(line)))
}

const readReport = async (out: string) =>
  RunReport.parse(JSON.parse(await readFile(join(out, 'run.json'), 'utf8')))

async function images(count: number): Promise<{ src: string; out: string }> {
  const folder = await tempFolder()
  await writeImages(join(folder, 'in'), count)
  return { src: join(folder, 'in'), out: join(folder, 'out') }
}

describe('the health of labels', () => {
  const refusing: Answer = () => "I'm sorry, but I cannot help with that."

  test('pauses the run with 5 when checks find fault too often, and the same command goes on', async () => {
    const { src, out } = await images(60)
    const args = [src, '--out', out, '--tasks', 'caption', '--health', 'window=20']
    const first = await label(args, { answer: refusing })
    expect(first.code).toBe(5)
    expect(first.images).toBeLessThan(30)
    expect(first.out).toContain('paused: refusals 100.0 % over the last 20 records; the limit is 2.0 %')
    const [session] = (await readReport(out)).sessions
    expect(session).toMatchObject({ ended: 'quality', health: { rates: { refusals: 1, loops: 0 } } })
    // Filtered is not failed: nothing of it is asked again.
    const second = await label([...args.slice(0, -1), 'off'])
    expect([second.code, first.images + second.images]).toEqual([0, 60])
    const statuses = (await readRecords(out)).map(({ status }) => status)
    expect(statuses.filter((status) => status === 'filtered')).toHaveLength(first.images)
  })

  test.each([
    ['off', null],
    [undefined, { window: 200 }],
    ['loops=0.2,window=50', { window: 50, most: { loops: 0.2, refusals: 0.02 } }],
  ])('--health %s', (text, expected) => {
    const args = ['in', '--out', 'o', ...(text === undefined ? [] : ['--health', text])]
    expect(parseLabelFlags(args)).toMatchObject({ health: expected })
  })

  test.each(['loops', 'window=1', 'luck=1', 'loops=x'])('refuses --health %s', (text) => {
    expect(() => parseLabelFlags(['in', '--out', 'o', '--health', text])).toThrow(UserError)
  })
})

describe('a limit', () => {
  test('of images labels exactly so many, ends with 4, and the same command labels the next ones', async () => {
    const { src, out } = await images(9)
    const args = [src, '--out', out, '--max-images', '4']
    const first = await label(args)
    expect([first.code, first.images]).toEqual([4, 4])
    expect(first.out).toContain('stopped by --max-images 4: the same command goes on from here')
    expect([await label(args), await label(args)].map(({ code }) => code)).toEqual([4, 0])
    expect(await readRecords(out)).toHaveLength(27)
    expect(
      (await readReport(out)).sessions.map(({ ended, limit, labelled }) => [ended, limit, labelled]),
    ).toEqual([
      ['limit', '--max-images 4', 4],
      ['limit', '--max-images 4', 4],
      ['all-done', null, 1],
    ])
  })

  test.each([
    ['time', ['--max-minutes', '0.005'], '--max-minutes 0.005'],
    ['money', ['--max-cost', '0.0001', '--hour-cost', '1.2'], '--max-cost 0.0001'],
  ])('of %s finishes what is under way and ends with 4', async (_, flags, name) => {
    const { src, out } = await images(80)
    const ended = await label([src, '--out', out, ...flags], { delayMs: 100 })
    expect(ended.code).toBe(4)
    expect(ended.out).toContain(`stopped by ${name}`)
    const records = await readRecords(out)
    // Whole images only, and few: 0.3 s at 0.1 s an image, and what was under way.
    expect(records.length % 3).toBe(0)
    expect(records.length / 3).toBeLessThan(20)
    expect((await readReport(out)).sessions[0]).toMatchObject({ ended: 'limit', limit: name })
  })

  test.each([
    [{ maxMinutes: 10 }, { ms: 600_000, name: '--max-minutes 10' }],
    [
      { maxCostUsd: 1, hourUsd: 2 },
      { ms: 1_800_000, name: '--max-cost 1' },
    ],
    [
      { maxMinutes: 10, maxCostUsd: 1, hourUsd: 2 },
      { ms: 600_000, name: '--max-minutes 10' },
    ],
    [
      { maxMinutes: 50, maxCostUsd: 1, hourUsd: 2 },
      { ms: 1_800_000, name: '--max-cost 1' },
    ],
    [{ maxMinutes: 1e9 }, { ms: 2 ** 31 - 1, name: '--max-minutes 1000000000' }],
    [{}, null],
  ])('of time and money %j is the earlier one', (given, expected) => {
    const none = { maxImages: undefined, maxMinutes: undefined, maxCostUsd: undefined, hourUsd: undefined }
    expect(timeLimit({ ...none, ...given })).toEqual(expected)
  })

  test('of money without a price of time is refused', () => {
    expect(() => parseLabelFlags(['in', '--out', 'o', '--max-cost', '3'])).toThrow(/give --hour-cost/)
  })

  test('gives way to an interrupt: the first drains, the second stops', () => {
    const told: string[] = []
    let interrupt = () => {}
    const stopping = watchStop(
      { maxImages: 3, maxMinutes: undefined, maxCostUsd: undefined, hourUsd: undefined },
      { onInterrupt: (call) => ((interrupt = call), () => {}), tell: (text) => told.push(text) },
    )
    interrupt()
    expect([stopping.drain.aborted, stopping.stop.aborted]).toEqual([true, false])
    expect(stopping.endOf({ ended: 'drained' })).toEqual({ ended: 'interrupted', limit: null })
    interrupt()
    expect(stopping.stop.aborted).toBe(true)
    expect(stopping.endOf({ ended: 'stopped' }).ended).toBe('stopped')
    stopping.close()
    expect(told).toEqual([expect.stringContaining('interrupt again to stop at once')])
  })
})

describe('--retry-failed', () => {
  const brokenOnce: Answer = ({ question }) => {
    if (question.includes('box')) return ' '
    return undefined
  }

  test('labels anew what failed and nothing else', async () => {
    const { src, out } = await images(4)
    await writeFile(join(src, 'bad.png'), 'no image')
    const first = await label([src, '--out', out], { answer: brokenOnce })
    expect(first.code).toBe(3)
    const failedBefore = (await readRecords(out)).filter(({ status }) => status === 'failed')
    expect(failedBefore.map(({ error }) => String(error?.code)).toSorted(compareKeys)).toEqual([
      ...Array.from({ length: 4 }, () => 'answer-empty'),
      ...Array.from({ length: 3 }, () => 'image-format-unsupported'),
    ])
    expect((await label([src, '--out', out])).out).toContain('nothing to do')
    const again = await label([src, '--out', out, '--retry-failed=answer-empty'])
    // Only the image that no longer opens stays failed; it was not even tried.
    expect([again.code, again.images]).toEqual([3, 4])
    const records = await readRecords(out)
    expect(records).toHaveLength(15)
    expect(records.filter(({ status }) => status === 'failed').map(({ source }) => source.key)).toEqual(
      Array.from({ length: 3 }, () => 'bad.png'),
    )
    expect((await readReport(out)).actual).toMatchObject({
      images: 5,
      failures: { 'image-format-unsupported': 3 },
      byTask: { caption: { ok: 4, failed: 1 } },
    })
  })

  test('without a code tries all that failed, also where nothing has changed', async () => {
    const { src, out } = await images(1)
    await writeFile(join(src, 'bad.png'), 'no image')
    await label([src, '--out', out])
    const again = await label(['--retry-failed', src, '--out', out])
    expect(again.code).toBe(3)
    expect(again.out).toContain('labelled 1 image ')
    expect(await readRecords(out)).toHaveLength(6)
  })

  test('names the codes when it is given another', () => {
    expect(() => parseLabelFlags(['in', '--out', 'o', '--retry-failed=gone'])).toThrow(UserError)
    expect(() => parseLabelFlags(['in', '--out', 'o', '--retry-failed=gone'])).toThrow(/engine-crashed/)
  })
})

test('run.json sums what it costs, and says when nothing is known of that', async () => {
  const { src, out } = await images(3)
  await label([src, '--out', out, '--max-images', '1'])
  expect((await readReport(out)).actual.usd).toBeNull()
  await label([src, '--out', out, '--hour-cost', '3.6'])
  const { actual, sessions } = await readReport(out)
  expect(actual.usd).toBeCloseTo((sessions[1]?.durationMs ?? 0) / 1e6, 6)
  expect(actual.labelled).toBe(3)
  expect(actual.durationMs).toBe(sessions.reduce((sum, { durationMs }) => sum + durationMs, 0))
})

test('run.json of another run or version is begun anew', async () => {
  const { src, out } = await images(1)
  await label([src, '--out', out])
  await writeFile(join(out, 'run.json'), '{"v": 0}')
  await writeFile(join(src, 'more.png'), numberedPng(77))
  expect((await label([src, '--out', out])).code).toBe(0)
  expect((await readReport(out)).sessions).toHaveLength(1)
})
