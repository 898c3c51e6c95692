// How long a review of a large run takes to begin: its index, a walk, and the first sight of the page in a browser.
// `node cli/launch.js bench/review.ts [--records 100000] [--keep FOLDER]`
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { writePart } from '../dataset/parts.ts'
import { openRun } from '../dataset/run-folder.ts'
import { sealRun } from '../dataset/seal.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { browserPath, openBrowser } from '../tests/helpers/browser.ts'
import { someRecord, someRun } from '../tests/helpers/records.ts'
import { serveReview } from '../tests/helpers/served-review.ts'

const recordsOfPart = 10_000

const { values } = parseArgs({ options: { records: { type: 'string' }, keep: { type: 'string' } } })
const records = Number(values.records ?? '100000')
const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'coglabel-bench-'))
try {
  if (!existsSync(join(folder, 'config.json'))) await makeRun(folder, records)
  for (const _time of ['built', 'read']) {
    const served = await serveReview(folder)
    const { how, tookMs, recordCount, images } = served.run.index
    const report = { records: recordCount, images: images.length, index: how, tookMs }
    const sight = browserPath === null ? 'no browser is here' : await firstSight(served.url)
    console.log(JSON.stringify({ ...report, rssMb: Math.round(process.memoryUsage().rss / 1e6), sight }))
    await served.close()
  }
} finally {
  if (values.keep === undefined) rmSync(folder, { recursive: true, force: true })
}

/** One record an image: the longest list there can be. */
async function makeRun(run: string, count: number): Promise<void> {
  mkdirSync(run, { recursive: true })
  const store = openFsStore(run)
  const { runId } = await openRun(store, { wanted: someRun, now: new Date() })
  const model = someRecord({ key: 'model' })
  const recordOf = (n: number): LabelRecord => {
    const key = `clip-${String(Math.floor(n / 200)).padStart(5, '0')}/${String(n).padStart(7, '0')}.jpg`
    const hash = sha256Hex(key)
    return {
      ...model,
      runId,
      recordId: hash.slice(0, 32),
      source: {
        ...model.source,
        key,
        uri: `file:///nowhere/${key}`,
        sha256: hash,
        perceptualHash: hash.slice(0, 16),
      },
      output: { text: `A dog and ${n % 97} cats on a wooden table, seen from above, beside a window.` },
      checks: [{ name: 'yes-no', pass: n % 5 > 0, score: (n % 1000) / 1000, evidence: 'asked five times' }],
    }
  }
  for (let from = 0; from < count; from += recordsOfPart)
    await writePart(
      store,
      Array.from({ length: Math.min(recordsOfPart, count - from) }, (_, n) => recordOf(from + n)),
    )
  await sealRun({ store, runId, clock: () => new Date() })
}

/** Milliseconds from the address to the list, on a server that has its index; then a filter, a jump to the end and keys. */
async function firstSight(url: string) {
  const browser = await openBrowser()
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    const timings: Record<string, number> = {}
    for (const name of ['first', 'again']) {
      await page.goto(url)
      await page.waitForSelector('.card.is-current')
      const [list, paint] = await page.evaluate(() => [
        performance.getEntriesByName('list-shown')[0]?.startTime ?? Number.NaN,
        performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Number.NaN,
      ])
      timings[`${name} paint`] = Math.round(paint ?? Number.NaN)
      timings[`${name} list`] = Math.round(list ?? Number.NaN)
    }
    timings['text filter'] = await timed(async () => {
      await page.fill('#filter-text', '42 cats')
      await page.locator('#list-facts', { hasText: /^1,0/ }).waitFor()
    })
    await page.fill('#filter-text', '')
    await page.locator('#list-facts', { hasText: shown(records) }).waitFor()
    timings['to the end'] = await timed(async () => {
      await page.locator('#list').focus()
      await page.keyboard.press('End')
      await page.locator('#caption', { hasText: `${shown(records)} of` }).waitFor()
    })
    timings['ten records'] = await timed(async () => {
      for (let step = 0; step < 10; step += 1) await page.keyboard.press('k')
      await page.locator('#caption', { hasText: `${shown(records - 10)} of` }).waitFor()
    })
    return timings
  } finally {
    await browser.close()
  }
}

async function timed(job: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await job()
  return Math.round(performance.now() - startMs)
}

function shown(count: number): string {
  return count.toLocaleString('en')
}
