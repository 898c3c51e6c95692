// The review page opened in a browser on a run of a test. It does not know what is looked at.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Browser, Page } from 'playwright-core'
import { onTestFinished } from 'vitest'
import type { RunConfig } from '../../schemas/run-config.ts'
import { makeReviewRun, type ReviewImage, reviewImages } from '../helpers/review-run.ts'
import { serveReview, type ServedReview } from '../helpers/served-review.ts'

export type OpenedPage = Awaited<ReturnType<typeof makeReviewRun>> & {
  page: Page
  served: ServedReview
  /** Whatever the console or the network says besides. */
  heard: string[]
}

export type PageOptions = Partial<{
  images: readonly ReviewImage[]
  tasks: RunConfig['tasks']
  hash: string
  against: string | null
  scheme: 'light' | 'dark'
  width: number
  before: (run: Awaited<ReturnType<typeof makeReviewRun>>) => Promise<void>
}>

export async function openReviewPage(
  browser: Browser,
  {
    images = reviewImages,
    tasks,
    hash = '',
    against = null,
    scheme = 'light',
    width = 1280,
    before = async () => {},
  }: PageOptions = {},
): Promise<OpenedPage> {
  const made = await makeReviewRun(images, tasks === undefined ? {} : { tasks })
  await before(made)
  const served = await serveReview(made.run, { against })
  const context = await browser.newContext({
    viewport: { width, height: 800 },
    colorScheme: scheme,
    bypassCSP: false,
  })
  onTestFinished(async () => {
    await context.close()
    await served.close()
  })
  const page = await context.newPage()
  const heard: string[] = []
  page.on('pageerror', ({ message }) => heard.push(`error ${message}`))
  page.on('dialog', (dialog) => {
    heard.push(`dialog ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !/404/.test(message.text()))
      heard.push(message.text())
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(served.origin) && !request.url().startsWith('data:'))
      heard.push(`asked ${request.url()}`)
  })
  await page.goto(served.url)
  if (hash !== '') await page.goto(`${served.origin}/#${hash}`)
  if (hash !== '') await page.reload()
  await page.waitForSelector('.card.is-current')
  return { ...made, page, served, heard }
}

export async function progress(page: Page, text: RegExp): Promise<void> {
  await page.waitForFunction(
    (wanted) => new RegExp(wanted).test(document.querySelector('#progress')?.textContent ?? ''),
    text.source,
  )
}

/** What axe-core finds that shuts people out. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))
  // axe-core puts itself on the window; its types are for pages that import it.
  return await page.evaluate(async () => {
    const { violations: found } = await (
      window as unknown as {
        axe: {
          run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }>
        }
      }
    ).axe.run()
    return found.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} ${failureSummary}`),
    )
  })
}
