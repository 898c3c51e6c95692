// `coglabel plan`: the pilot, its interval, what it prints, and that a run is compared with it.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runLabel } from '../../cli/label.ts'
import { meanInterval, takeSample } from '../../cli/pilot.ts'
import { runPlan } from '../../cli/plan.ts'
import { runStatus } from '../../cli/status.ts'
import { runSubmit } from '../../cli/submit.ts'
import { Estimate } from '../../schemas/estimate.ts'
import { defaultRunLimits } from '../../gpu-worker/pipeline/run.ts'
import { RunReport } from '../../schemas/run-report.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { writeImages } from '../helpers/images.ts'
import { testPlaces } from '../helpers/places.ts'
import { seededRandom } from '../helpers/seeded-random.ts'
import { openLabelRoot } from '../helpers/label-root.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runTestWorker, runVerb, writeCountingModel } from '../helpers/verbs.ts'

const { imagesInEngine } = defaultRunLimits

async function plan(args: readonly string[], { delayMs = 0 } = {}) {
  const engine = openCountingEngine({ delayMs })
  const { root, printed } = openLabelRoot(engine)
  const code = await runPlan(args, root)
  return { code, out: printed.join('\n'), images: engine.counts.images }
}

const readEstimate = async (path: string) => Estimate.parse(JSON.parse(await readFile(path, 'utf8')))

async function* numbers(count: number) {
  for (let n = 0; n < count; n += 1) yield n
}

describe('a sample', () => {
  test('is the same for one seed, another for the next, and whole where there is no more', async () => {
    const first = await takeSample(numbers(1000), { size: 10, seed: 1 })
    expect(new Set(first).size).toBe(10)
    expect(await takeSample(numbers(1000), { size: 10, seed: 1 })).toEqual(first)
    expect(await takeSample(numbers(1000), { size: 10, seed: 2 })).not.toEqual(first)
    expect((await takeSample(numbers(4), { size: 10, seed: 1 })).toSorted((a, b) => a - b)).toEqual([
      0, 1, 2, 3,
    ])
  })

  test('takes each with the same chance, at each of its places', async () => {
    const seen = Array.from({ length: 20 }, () => 0)
    let firstSum = 0
    for (let seed = 0; seed < 4000; seed += 1) {
      const sample = await takeSample(numbers(20), { size: 5, seed })
      for (const value of sample) seen[value] = (seen[value] ?? 0) + 1
      firstSum += sample[0] ?? 0
    }
    // 1000 each, with a standard deviation of 27; the first place has the mean 9.5, of which 0.09 is one deviation.
    expect(Math.min(...seen)).toBeGreaterThan(880)
    expect(Math.max(...seen)).toBeLessThan(1120)
    expect(Math.abs(firstSum / 4000 - 9.5)).toBeLessThan(0.4)
  })
})

describe('the interval of a mean', () => {
  test('is that of Student on a hand-worked case', () => {
    // Mean 12, deviation sqrt(10), n 5: 2.776 * sqrt(10 / 5) = 3.926.
    const { low, mid, high } = meanInterval([8, 10, 12, 14, 16], Infinity)
    expect([low, mid, high].map((value) => value.toFixed(3))).toEqual(['8.074', '12.000', '15.926'])
  })

  test('is a point when all was seen, and wide when one value was', () => {
    expect(meanInterval([1, 2, 3], 3)).toEqual({ low: 2, mid: 2, high: 2 })
    expect(meanInterval([4], 100)).toEqual({ low: 2, mid: 4, high: 8 })
  })

  test('holds the true mean about as often as it says, for skewed times too', () => {
    const random = seededRandom(5)
    let held = 0
    for (let round = 0; round < 1000; round += 1) {
      // Exponential with the mean 1, and a floor as an image has.
      const values = Array.from({ length: 24 }, () => 1 - Math.log(1 - random()))
      const { low, high } = meanInterval(values, Infinity)
      if (low <= 2 && 2 <= high) held += 1
    }
    expect(held).toBeGreaterThan(900)
    expect(held).toBeLessThanOrEqual(980)
  })
})

describe('coglabel plan', () => {
  test('measures a sample after one image to warm up, and leaves nothing behind', async () => {
    const folder = await tempFolder()
    await writeImages(folder, 40)
    const path = join(await tempFolder(), 'plan.json')
    const { code, out, images } = await plan([folder, '--pilot', '8', '--hour-cost', '2', '--save', path], {
      delayMs: 20,
    })
    expect([code, images]).toEqual([0, 9])
    expect(out).toMatch(/^plan: 40 images of .*, with counting \(none\): caption, qa, grounded-caption/)
    expect(out).toMatch(/pilot +8 images, seed 0/)
    expect(out).toMatch(/all +.*, 120 records/)
    const { pilot, ...estimate } = await readEstimate(path)
    expect(estimate).toMatchObject({ images: 40, recordsPerImage: 3, cloud: null })
    expect(pilot?.images).toBe(8)
    // Each image waits 20 ms in an engine that works on four at a time.
    expect(pilot?.imageMs.mid).toBeGreaterThan(19 / imagesInEngine)
    expect(pilot?.durationMs.mid).toBeCloseTo((pilot?.imageMs.mid ?? 0) * 40, 6)
    expect(pilot?.usd?.mid).toBeCloseTo(((pilot?.durationMs.mid ?? 0) / 3_600_000) * 2, 9)
  })

  test('says what it measured although the plan cannot be saved', async () => {
    const folder = await tempFolder()
    await writeImages(folder, 2)
    await writeFile(join(folder, 'file'), '')
    const { root, printed } = openLabelRoot(openCountingEngine())
    const planned = runPlan([folder, '--save', join(folder, 'file/plan.json')], root)
    await expect(planned).rejects.toThrow(/could not write .*plan.json: a part of the path is a file/)
    expect(printed.join('')).toMatch(/an image +\d/)
  })

  test('stops measuring when its minutes are over', async () => {
    const folder = await tempFolder()
    await writeImages(folder, 30)
    const { images } = await plan([folder, '--pilot-minutes', '0.002'], { delayMs: 50 })
    // 0.12 s at 50 ms for four images, what was under way, and the one to warm up.
    expect(images).toBeLessThan(5 * imagesInEngine)
  })

  test('names failures and shows what the model said', async () => {
    const folder = await tempFolder()
    await writeImages(folder, 3)
    await writeFile(join(folder, 'bad.png'), 'no image')
    const { out } = await plan([folder])
    expect(out).toMatch(/failed +3 of \d+ records of the pilot: 3 image-format-unsupported|caption +thing/)
    expect(out).toMatch(/caption +thing [0-9a-f]{8}/)
  })

  test('adds the cloud: a table, a range, and the month apart; an unmeasured GPU is called so', async () => {
    const folder = await tempFolder()
    await writeImages(folder, 4)
    const model = await writeCountingModel()
    const { out } = await plan([folder, '--cloud', '--images', '1000000', '--model', model.folder])
    expect(out).toContain('the rate of these GPUs is unmeasured')
    // Five prompts an image share the yardstick: a caption, its boxes and the usual questions.
    expect(out).toMatch(/shared among the \d+ answers of an image/)
    expect(out).toMatch(/g6\.xlarge +L4 22 GiB +0\.349 to 0\.401 +0\.805 +\$/)
    expect(out).toMatch(/together +\$[\d,]+ \(\$[\d,]+ to \$[\d,]+\)/)
    expect(out).toMatch(/each month, labelling or not: \$106/)
    expect(out).toMatch(/\$102 {2}network \(endpoints, 2 zones\)/)
    expect(out).toContain('2026-07-20')
  })

  test('of the cloud alone needs no model', async () => {
    const { code, out, images } = await plan([
      '--cloud',
      '--images',
      '1000000',
      '--rate',
      '4',
      '--network',
      'nat',
    ])
    expect([code, images]).toEqual([0, 0])
    expect(out).not.toContain('unmeasured')
    expect(out).toMatch(/each month, labelling or not: \$40\.\d\d/)
  })

  test('of the cloud alone shares the yardstick among what the named model would be asked', async () => {
    const model = await writeCountingModel()
    const alone = ['--cloud', '--images', '1000', '--model', model.folder]
    const one = await plan([...alone, '--tasks', 'caption'])
    expect(one.out).toMatch(/, 0\.40 images\/s each\n/)
    const two = await plan([...alone, '--tasks', 'caption,qa', '--ask', 'What is it?'])
    expect(two.out).toMatch(/, 0\.20 images\/s each\n.*shared among the 2 answers of an image/)
    await expect(plan([...alone, '--tasks', 'captoin'])).rejects.toThrow('there is no task "captoin"')
  })

  test('takes the rate of this machine when it is the instance', async () => {
    const folder = await tempFolder()
    await writeImages(folder, 6)
    const model = await writeCountingModel()
    const path = join(await tempFolder(), 'plan.json')
    const args = [folder, '--cloud', '--rate', 'here', '--model', model.folder, '--save', path]
    await plan(args, { delayMs: 100 })
    const { cloud, pilot } = await readEstimate(path)
    expect(cloud?.rateFrom).toBe('pilot')
    expect(cloud?.imagesPerSecond).toBeCloseTo(1000 / (pilot?.imageMs.mid ?? 0), 6)
    expect(cloud?.imagesPerSecond).toBeLessThan(10.1 * imagesInEngine)
  })

  test.each([
    [[], /needs a SRC/],
    [['--cloud'], /needs a SRC/],
    [['a', 'b'], /one SRC/],
    [['in', '--rate', '3'], /--rate is about the cloud; add --cloud/],
    [['--cloud', '--images', '9', '--rate', 'here'], /needs a SRC to measure on/],
    [
      ['--cloud', '--images', '9', '--network', 'vpn'],
      /--network is "vpn"; expected endpoints, nat, existing-vpc/,
    ],
    [['--cloud', '--images', '9', '--region', 'mars-north-1'], /no prices of mars-north-1, but of us-east-1/],
    [['--cloud', '--images', '9', '--instance', 'm5.large'], /m5\.large has no price in us-east-1/],
    [['--cloud', '--images', '9', '--prices', 'no-such.json'], /the prices no-such\.json cannot be read/],
  ])('refuses %j', async (args, message) => {
    await expect(plan(args)).rejects.toThrow(message)
  })
})

test('label compares with the plan, in its words and in run.json', async () => {
  const folder = await tempFolder()
  await writeImages(join(folder, 'in'), 12)
  const path = join(folder, 'plan.json')
  await plan([join(folder, 'in'), '--save', path])
  // What it measured depends on what else the machine does; what is compared shall not.
  const estimate = await readEstimate(path)
  const pilot = { ...estimate.pilot, imageMs: { low: 1, mid: 2, high: 3 } }
  await writeFile(path, JSON.stringify({ ...estimate, pilot }))
  const { root, printed } = openLabelRoot(openCountingEngine({ delayMs: 60 }))
  const out = join(folder, 'out')
  await runLabel([join(folder, 'in'), '--out', out, '--plan', path], root)
  expect(printed.join('\n')).toMatch(
    /planned 2\.0 ms an image \(1\.0 ms to 3\.0 ms\), it took [\d.]+ m?s: slower/,
  )
  const report = RunReport.parse(JSON.parse(await readFile(join(out, 'run.json'), 'utf8')))
  expect(report.planned).toMatchObject({ images: 12, estimate: { images: 12, pilot: { seed: 0 } } })
  expect(report.actual.imageMs).toBeGreaterThan(50 / imagesInEngine)
})

describe.each(testPlaces)('at %s', (_, openTestPlace) => {
  test('status compares the run with the plan that it was submitted with', async () => {
    const world = await openTestPlace()
    const folder = await tempFolder()
    await writeImages(folder, 5)
    const model = await writeCountingModel()
    const path = join(await tempFolder(), 'plan.json')
    await plan([folder, '--cloud', '--model', model.folder, '--save', path])
    const args = [folder, '--run', 'r1', '--model', model.folder, ...world.flags]
    await runVerb(runSubmit, [...args, '--plan', path])
    const before = await runVerb(runStatus, ['r1', '--once', ...world.flags])
    expect(before.out).toMatch(/planned +\d+\.\d\d worker-hours \(.*\), \$[\d.]+ \(.*\) on g6\.xlarge$/m)
    await runTestWorker(world)
    const after = await runVerb(runStatus, ['r1', '--once', '--worker-hour', '1', ...world.flags])
    // The counting engine takes no time, so it is below any plan.
    expect(after.out).toMatch(/heading for 0\.00 worker-hours, \$[\d.]+: below the plan$/m)
  })
})
