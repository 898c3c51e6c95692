// A real browser for tests, where this machine has one. It does not know what is tested.
import { existsSync } from 'node:fs'
import { chromium, type Browser } from 'playwright-core'

const usualPlaces = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

/** The program, or null where there is none: then its tests are skipped, and counted as skipped. */
export const browserPath: string | null = findBrowser(process.env['CHROME_PATH'])

/** `none` stands for a machine without. */
function findBrowser(wanted: string | undefined): string | null {
  if (wanted === 'none') return null
  return [wanted ?? '', ...usualPlaces].find((path) => path !== '' && existsSync(path)) ?? null
}

/** One process; each test opens contexts of its own in it. */
export async function openBrowser(): Promise<Browser> {
  if (browserPath === null) throw new Error('no browser is here; skip the test')
  // Its sandbox needs rights that a container of CI does not give; only pages of our own are opened.
  return await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox', '--disable-gpu'] })
}
