// The review page in a real browser: keys, clicks, dragging, what is written, and what hostile texts can do to it.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readVerdicts, writeVerdict } from '../../dataset/verdicts.ts'
import { browserPath, openBrowser } from '../helpers/browser.ts'
import {
  makeReviewRun,
  type ReviewImage,
  reviewImages,
  reviewRecordId,
  spoilImage,
} from '../helpers/review-run.ts'
import { type OpenedPage, openReviewPage, type PageOptions, progress, violations } from './opened-page.ts'

if (browserPath === null)
  console.warn(
    'no Chromium or Chrome was found (CHROME_PATH names one): the tests of the review page are skipped',
  )

const turtle = { key: 'farm/rabbit-turtle.png', task: 'grounded-caption' }
const plainCaption = (key: string, text: string): ReviewImage => ({
  key,
  sample: 'owl.png',
  said: [{ task: 'caption', output: { text } }],
})

describe.skipIf(browserPath === null)('the review page', () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(async () => await browser?.close())

  const open = async (options: PageOptions = {}) => await openReviewPage(browser, options)

  const currentTask = async (page: Page) => await page.textContent('.card.is-current .task')
  const verdictOf = async (
    { store }: Pick<OpenedPage, 'store'>,
    { key, task }: { key: string; task: string },
  ) => (await readVerdicts(store)).get(reviewRecordId(key, task))
  it('walks through records and images with j and k, and J and K', async () => {
    const { page, heard } = await open()
    const caption = async () => await page.textContent('#caption')
    expect(await caption()).toContain('farm/rabbit-turtle-copy.png')
    await page.keyboard.press('j')
    await page.waitForFunction(() =>
      document.querySelector('#caption')?.textContent?.includes('rabbit-turtle.png'),
    )
    await page.keyboard.press('j')
    expect(await currentTask(page)).toBe('grounded-caption')
    await page.keyboard.press('k')
    expect(await currentTask(page)).toBe('caption')
    await page.keyboard.press('J')
    await page.waitForFunction(() => document.querySelector('#caption')?.textContent?.includes('gone.png'))
    await page.keyboard.press('K')
    await page.waitForFunction(() =>
      document.querySelector('#caption')?.textContent?.includes('rabbit-turtle.png'),
    )
    expect(heard).toEqual([])
  })

  it('writes an accept, a reject and an undo at once, each a file of its own', async () => {
    const opened = await open({ hash: `at=${reviewRecordId(turtle.key, 'caption')}` })
    const { page, run } = opened
    await page.keyboard.press('a')
    await progress(page, /^1 of 9 judged · 1 accepted/)
    expect(await currentTask(page)).toBe('grounded-caption')
    await page.keyboard.press('r')
    await progress(page, /^2 of 9 judged · 1 accepted, 0 edited, 1 rejected/)
    expect(await verdictOf(opened, turtle)).toMatchObject({ verdict: 'reject', who: 'ada' })
    await page.keyboard.press('u')
    await progress(page, /^1 of 9 judged/)
    expect(await verdictOf(opened, turtle)).toBeUndefined()
    const files = await readdir(join(run, 'verdicts'), { recursive: true })
    expect(files.filter((name) => name.endsWith('.json'))).toHaveLength(3)
  })

  it('accepts a whole image with A, and undoes to what stood before', async () => {
    const opened = await open({
      hash: `at=${reviewRecordId(turtle.key, 'caption')}`,
      before: async ({ store }) => {
        await writeVerdict(store, {
          v: 1,
          recordId: reviewRecordId(turtle.key, 'qa'),
          verdict: 'reject',
          who: 'bob',
          at: '2026-01-02T00:00:00.000Z',
          comment: 'says two',
        })
      },
    })
    await opened.page.keyboard.press('A')
    await progress(opened.page, /^3 of 9 judged · 3 accepted/)
    await opened.page.keyboard.press('u')
    await progress(opened.page, /^3 of 9 judged · 2 accepted, 0 edited, 1 rejected/)
    expect(await verdictOf(opened, { key: turtle.key, task: 'qa' })).toMatchObject({
      verdict: 'reject',
      comment: 'says two',
    })
  })

  it('edits text; phrases that were not touched keep their words and boxes', async () => {
    const opened = await open({ hash: `at=${reviewRecordId(turtle.key, turtle.task)}` })
    const { page } = opened
    await page.keyboard.press('e')
    await page.fill('.editor textarea', 'A rabbit and a green turtle.')
    await page.keyboard.press('Control+Enter')
    await progress(page, /1 edited/)
    expect((await verdictOf(opened, turtle))?.output).toEqual({
      text: 'A rabbit and a green turtle.',
      phrases: [
        { text: 'A rabbit', start: 0, end: 8, boxes: [[0.38, 0.485, 0.756, 0.962]] },
        { text: 'a green turtle', start: 13, end: 27, boxes: [[0.455, 0.105, 0.894, 0.455]] },
      ],
    })
    expect(await page.textContent('.card.is-current .said')).toBe('A rabbit and a green turtle.')
  })

  it('moves, resizes, adds and deletes boxes by mouse and by keyboard', async () => {
    const opened = await open({ hash: `at=${reviewRecordId(turtle.key, turtle.task)}` })
    const { page } = opened
    await page.waitForFunction(() => document.querySelector<HTMLImageElement>('.photo')?.complete)
    await page.keyboard.press('e')
    const layer = (await page.locator('.layer').boundingBox())!
    const drag = async (from: [number, number], to: [number, number]) => {
      await page.mouse.move(layer.x + from[0] * layer.width, layer.y + from[1] * layer.height)
      await page.mouse.down()
      await page.mouse.move(layer.x + to[0] * layer.width, layer.y + to[1] * layer.height, { steps: 4 })
      await page.mouse.up()
    }
    // The rabbit moves, the turtle's lower right corner is pulled in.
    await drag([0.5, 0.7], [0.45, 0.65])
    await drag([0.894, 0.455], [0.8, 0.4])
    // New words get a new box.
    await page.locator('.editor textarea').evaluate((field: HTMLTextAreaElement) => {
      field.focus()
      field.setSelectionRange(9, 12)
    })
    await drag([0.05, 0.05], [0.2, 0.3])
    // The keyboard deletes the rabbit's box and nudges the turtle's.
    await page.locator('.box.current').first().focus()
    await page.keyboard.press('Delete')
    await page.locator('.box.current', { hasText: 'a turtle' }).focus()
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('Shift+ArrowDown')
    await page.click('.editor button[type=submit]')
    await progress(page, /1 edited/)
    const output = (await verdictOf(opened, turtle))?.output
    const phrases = output !== undefined && 'phrases' in output ? output.phrases : []
    expect(phrases.map(({ text }) => text)).toEqual(['and', 'a turtle'])
    const near = (box: readonly number[], wanted: readonly number[]) =>
      box.forEach((side, at) => expect(Math.abs(side - wanted[at]!)).toBeLessThan(0.006))
    near(phrases[0]!.boxes[0]!, [0.05, 0.05, 0.2, 0.3])
    near(phrases[1]!.boxes[0]!, [0.46, 0.105, 0.805, 0.405])
  })

  it('refuses to lose an edit, and Esc gives it up', async () => {
    const opened = await open({ hash: `at=${reviewRecordId(turtle.key, 'caption')}` })
    const { page } = opened
    await page.keyboard.press('e')
    await page.fill('.editor textarea', 'something else')
    await page.locator('.row').first().click()
    expect(await page.textContent('#message')).toContain('save what you write first')
    // Another walk would leave the image too: the filter is put back.
    await page.selectOption('#filter-task', 'grounded-caption')
    expect(await page.inputValue('#filter-task')).toBe('')
    await page.locator('.editor textarea').focus()
    await page.keyboard.press('Escape')
    await page.waitForSelector('.card.is-current .buttons .accept')
    expect((await readVerdicts(opened.store)).size).toBe(0)
  })

  it('links words and boxes under the pointer, and shows what each check saw', async () => {
    const { page } = await open({ hash: `at=${reviewRecordId(turtle.key, turtle.task)}` })
    await page.hover('.card.is-current .words >> nth=1')
    expect(await page.locator('.box.is-linked').allTextContents()).toEqual(['a turtle'])
    await page.hover('.box.current >> nth=0', { position: { x: 3, y: 40 } })
    expect(await page.locator('.words.is-linked').allTextContents()).toEqual(['A rabbit'])
    expect(await page.textContent('.card.is-current .checks')).toContain('answered No twice of five')
  })

  it('filters by task, status, text, check score, look-alikes and a condition, and stays where it was', async () => {
    const { page } = await open()
    const found = async () => (await page.textContent('#list-facts'))?.replace(/ ·.*/, '')
    const settle = async (text: string) =>
      await page.waitForFunction(
        (wanted) => document.querySelector('#list-facts')?.textContent?.startsWith(wanted),
        text,
      )
    expect(await found()).toBe('9 records, 5 images')
    await page.selectOption('#filter-task', 'grounded-caption')
    await settle('2 records, 2 images')
    await page.selectOption('#filter-status', 'failed')
    await settle('1 record, 1 image')
    await page.selectOption('#filter-status', '')
    await page.selectOption('#filter-task', '')
    await page.fill('#filter-text', 'GREEN ground')
    await settle('1 record, 1 image')
    await page.fill('#filter-text', '')
    await settle('9 records')
    await page.click('#more-filters summary')
    await page.selectOption('#filter-check', 'region-cycle')
    await page.fill('[name=from]', '0.95')
    await settle('0 records')
    await page.waitForFunction(() =>
      document.querySelector('#cards')?.textContent?.includes('Take a filter away'),
    )
    await page.fill('[name=from]', '0.9')
    await settle('1 record,')
    await page.fill('[name=from]', '')
    await page.selectOption('#filter-check', '')
    await page.check('[name=near]')
    await settle('4 records, 2 images')
    await page.uncheck('[name=near]')
    await page.fill('[name=where]', 'boxes>=2')
    await settle('1 record,')
    await page.fill('[name=where]', 'boxes>=')
    await page.waitForFunction(() =>
      document.querySelector('#message')?.textContent?.includes('expected a value'),
    )
    await page.reload()
    await page.waitForSelector('#list-facts')
  })

  it('resumes at the record where one left off, also in another browser after a verdict', async () => {
    const opened = await open({ hash: `at=${reviewRecordId('owl.png', 'ground')}` })
    const { page, served } = opened
    await page.goto(`${served.origin}/`)
    await page.waitForFunction(
      () => document.querySelector('.card.is-current .task')?.textContent === 'ground',
    )
    await page.keyboard.press('r')
    await progress(page, /1 rejected/)
    const elsewhere = await browser.newContext()
    const other = await elsewhere.newPage()
    await other.goto(served.url)
    await other.waitForFunction(
      () => document.querySelector('.card.is-current .task')?.textContent === 'ground',
    )
    await elsewhere.close()
  })

  it('draws a sample for an audit and tells how sure its share is', async () => {
    const { page } = await open({ hash: 'sample=4&seed=3' })
    expect(await page.textContent('#list-facts')).toContain('4 records')
    for (let given = 0; given < 4; given += 1) {
      const isFailed = (await page.locator('.card.is-current .failure').count()) > 0
      await page.keyboard.press(isFailed ? 'r' : 'a')
      await progress(page, new RegExp(`^${given + 1} of 4 judged`))
    }
    expect(await page.textContent('#progress')).toMatch(/stand as they are \(95 %: [\d.]+ % to [\d.]+ %\)$/)
  })

  it('compares two runs: words that differ are marked, boxes of the other run are dashed', async () => {
    const changed = reviewImages.map((image) =>
      image.key === turtle.key
        ? {
            ...image,
            said: image.said.map((said) =>
              said.task === turtle.task
                ? {
                    ...said,
                    output: {
                      text: 'A hare and a turtle.',
                      phrases: [
                        {
                          text: 'a turtle',
                          start: 11,
                          end: 19,
                          boxes: [[0.4, 0.1, 0.9, 0.5] as [number, number, number, number]],
                        },
                      ],
                    },
                  }
                : said,
            ),
          }
        : image,
    )
    const other = await makeReviewRun(changed)
    const { page } = await open({ against: other.run, hash: 'differs=1' })
    expect(await page.textContent('#list-facts')).toContain('1 record, 1 image')
    expect(await page.locator('.other-run del').allTextContents()).toEqual([' rabbit'])
    expect(await page.locator('.other-run ins').allTextContents()).toEqual([' hare'])
    expect(await page.locator('.box.other').count()).toBe(1)
  })

  it('draws boxes where they are: to the pixel, also those of the other run, and nothing overflows', async () => {
    const long = plainCaption('wide.png', `${'word'.repeat(300)} ${'many words '.repeat(300)}`)
    const other = await makeReviewRun([...reviewImages, long])
    const { page } = await open({
      images: [...reviewImages, long],
      against: other.run,
      hash: `at=${reviewRecordId('owl.png', 'ground')}`,
    })
    const layer = (await page.locator('.layer').boundingBox())!
    for (const box of await page.locator('.box.current, .box.other').all()) {
      const at = (await box.boundingBox())!
      const fractions = [
        (at.x - layer.x) / layer.width,
        (at.y - layer.y) / layer.height,
        (at.x + at.width - layer.x) / layer.width,
        (at.y + at.height - layer.y) / layer.height,
      ]
      fractions.forEach((side, index) => expect(side).toBeCloseTo([0.1, 0.1, 0.4, 0.5][index]!, 2))
    }
    expect(await page.locator('.box.current, .box.other').count()).toBe(2)
    await page.keyboard.press('End')
    await page.waitForFunction(() => document.querySelector('#caption')?.textContent?.includes('wide.png'))
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
  })

  it('keys pressed faster than images come act one after the other, each on its own record', async () => {
    const images = Array.from({ length: 12 }, (_, n) =>
      plainCaption(`n${String(n).padStart(2, '0')}.png`, `owl ${n}`),
    )
    const opened = await open({ images })
    for (let given = 0; given < 8; given += 1) await opened.page.keyboard.press('a')
    await progress(opened.page, /^8 of 12 judged · 8 accepted/)
    expect(await opened.page.textContent('#caption')).toContain('n08.png')
    expect((await readVerdicts(opened.store)).size).toBe(8)
  })

  it('takes a verdict back that could not be written, and says so', async () => {
    const { page, store } = await open({ hash: `at=${reviewRecordId(turtle.key, 'caption')}` })
    await page.route('**/api/verdict', async (route) => await route.abort())
    // The browser takes a moment before it stops requests; the server refuses this one, which has no body.
    await page.waitForFunction(async () =>
      fetch('api/verdict', { method: 'POST' }).then(
        () => false,
        () => true,
      ),
    )
    await page.keyboard.press('a')
    await page.waitForFunction(() =>
      document.querySelector('#message.is-problem')?.textContent?.includes('no longer served'),
    )
    await page.waitForFunction(
      () => document.querySelectorAll('.row[aria-selected=true] .mark.accept').length === 0,
    )
    await page.unroute('**/api/verdict')
    await page.keyboard.press('k')
    await page.keyboard.press('r')
    await progress(page, /1 rejected/)
    expect((await readVerdicts(store)).size).toBe(1)
  })

  it('keeps a comment with its verdict', async () => {
    const opened = await open({ hash: `at=${reviewRecordId(turtle.key, 'caption')}` })
    const { page } = opened
    await page.keyboard.press('r')
    await page.keyboard.press('k')
    await page.keyboard.press('c')
    await page.keyboard.type('the field is grey')
    await page.keyboard.press('Control+Enter')
    await page.waitForSelector('.card.is-current .comment')
    await progress(page, /1 rejected/)
    await page.reload()
    await page.waitForFunction(() => document.querySelector('.comment')?.textContent === 'the field is grey')
    expect(await verdictOf(opened, { key: turtle.key, task: 'caption' })).toMatchObject({
      verdict: 'reject',
      comment: 'the field is grey',
    })
  })

  it.each([
    ['was moved away', 'gone.png', 'was it moved or deleted?'],
    ['has changed since it was labelled', 'owl.png', 'has changed since it was labelled'],
  ])('says of an image that it %s, and shows no boxes over another', async (_what, key, says) => {
    const { page } = await open({
      hash: `at=${reviewRecordId(key, 'caption')}`,
      before: async ({ folder }) => await spoilImage(folder, 2),
    })
    await page.waitForFunction(
      (text) => document.querySelector('.problem')?.textContent?.includes(text),
      says,
    )
    expect(await page.locator('.frame').isVisible()).toBe(false)
  })

  it('shows an image that lies on its side upright', async () => {
    const { page } = await open({ hash: `at=${reviewRecordId('phone/rabbit-butterfly.jpg', 'caption')}` })
    await page.waitForFunction(
      () => (document.querySelector<HTMLImageElement>('.photo')?.naturalWidth ?? 0) > 0,
    )
    const shown = await page
      .locator('.photo')
      .evaluate((image: HTMLImageElement) => [image.naturalWidth, image.naturalHeight])
    expect(await page.textContent('#caption')).toContain(`${shown[0]} × ${shown[1]}`)
  })

  it.each([
    ['a script', '<script>document.title = "taken"; alert(1)</script> and <img src=x onerror=alert(1)>'],
    ['text that turns around', 'a \u202Egnp.exe\u202C b \u2067c\u2069 \u200Fd'],
    ['a megabyte', `${'very '.repeat(210_000)}long`],
    ['controls and lone halves', '\u0000\u0007 a\uD800b \u001B[31mred'],
  ])('renders %s as text, and as a name of a file too', async (_name, text) => {
    const key = `dir/${text.slice(0, 300).replaceAll(/[\\/\u0000]/g, '_')}.png`
    const { page, heard } = await open({ images: [plainCaption(key, text)] })
    await page.keyboard.press('e')
    await page.keyboard.press('Escape')
    await page.keyboard.press('a')
    await progress(page, /1 accepted/)
    expect(heard).toEqual([])
    expect(await page.locator('#cards script, #cards img, #list script').count()).toBe(0)
    const shown = await page.textContent('.card.is-current .said')
    expect(shown).not.toMatch(/[\u202A-\u202E\u2066-\u2069\u0000\u0007\u001B]/)
    expect(shown!.length).toBeLessThan(8000)
    expect(await page.title()).not.toBe('taken')
  })

  it('a key does nothing while one types, nor when single keys are off', async () => {
    const opened = await open()
    const { page } = opened
    await page.focus('#filter-text')
    await page.keyboard.type('ar')
    await page.keyboard.press('Escape')
    await page.keyboard.press('?')
    await page.uncheck('#single-keys')
    await page.click('#help button')
    await page.keyboard.press('a')
    await page.keyboard.press('ArrowDown')
    expect((await readVerdicts(opened.store)).size).toBe(0)
  })

  it.each(['light', 'dark'] as const)('shuts nobody out that axe-core knows of, in %s', async (scheme) => {
    const { page } = await open({ scheme, hash: `at=${reviewRecordId(turtle.key, turtle.task)}` })
    const check = async (what: string) => expect(await violations(page), what).toEqual([])
    await check('at rest')
    await page.keyboard.press('a')
    await progress(page, /1 accepted/)
    await page.keyboard.press('e')
    await check('while one edits')
    await page.keyboard.press('Escape')
    await page.click('#more-filters summary')
    await check('with all filters')
    await page.click('#more-filters summary')
    await page.click('#help-button')
    await check('with the keys')
  })
})
