// The documentation against what it speaks of: commands exist with their flags, links lead somewhere, prices are those of
// the code.
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { instancesOf, readPrices } from '../../cli/prices.ts'
import { formatUsd } from '../../cli/progress.ts'
import { fixedCosts, planCost } from '../../dataset/cost.ts'
import { holdsModel } from '../../schemas/instance-memory.ts'
import { readRepositoryFile, repositoryFiles } from '../architecture/source-tree.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const files = repositoryFiles()
const pages = [
  'README.md',
  'examples/README.md',
  'gpu-worker/README.md',
  ...files.filter((path) => path.startsWith('docs/') && path.endsWith('.md')),
]

/** Commands of ours on a page, in code or in sentences. */
const commands = pages.flatMap((page) =>
  [...readRepositoryFile(page).matchAll(/(?:npx )?coglabel ([a-z][a-z-]+)((?: [^\n`#|]*)?)/g)].map(
    (match) => ({
      page,
      verb: match[1] ?? '',
      flags: [...(match[2] ?? '').matchAll(/(?<= )--[a-z-]+/g)].map(([flag]) => flag),
    }),
  ),
)
const inCode = commands.filter(({ flags }) => flags.length > 0)

test.each([...new Set(inCode.map(({ verb }) => verb))])('%s has the flags that pages give it', (verb) => {
  const usage = execFileSync(process.execPath, [main, verb, '--help'], { encoding: 'utf8' })
  const named = inCode.filter((one) => one.verb === verb)
  for (const { page, flags } of named)
    for (const flag of flags) expect({ page, usage }).toMatchObject({ usage: expect.stringContaining(flag) })
})

test.each(pages)('%s runs TypeScript by the launcher, since the Node at hand may not read it', (page) => {
  expect(readRepositoryFile(page).match(/node (?!cli\/launch\.js)\S+\.ts/g)).toBeNull()
})

test('the page about the cloud goes the whole way', () => {
  const verbs = commands.filter(({ page }) => page === 'docs/cloud.md').map(({ verb }) => verb)
  const way = ['doctor', 'compile', 'push-model', 'plan', 'submit', 'status', 'pull-labels']
  const found = way.map((verb) => verbs.indexOf(verb))
  expect(found).not.toContain(-1)
  expect(found).toEqual(found.toSorted((left, right) => left - right))
})

test.each(pages)('links of %s lead to files that are there', (page) => {
  const links = [...readRepositoryFile(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(
    ([, link = '']) => link,
  )
  const missing = links.filter((link) => {
    const path = join(dirname(page), link).replace(/\/$/, '')
    return !files.some((file) => file === path || file.startsWith(`${path}/`))
  })
  expect(missing).toEqual([])
})

/** The rows of a marked table, its head left out. */
function rowsOf(mark: string): string[] {
  const text = readRepositoryFile('docs/prices.md')
  const block = new RegExp(`<!-- ${mark} -->\n([\\s\\S]*?)<!-- /${mark} -->`).exec(text)?.[1] ?? ''
  return block.trim().split('\n').slice(2)
}

describe('prices on the page', () => {
  test('of an idle month are those of the code', async () => {
    const { services } = await readPrices()
    const months = (network: 'endpoints' | 'nat' | 'existing-vpc', zones: number) =>
      fixedCosts({ network, zones, weightsBytes: 0 }, services).map(({ monthUsd }) => monthUsd)
    const exact = (usd: number) => `$${usd.toFixed(2)}`
    const [, ...others] = months('nat', 1)
    expect(rowsOf('idle').map((row) => row.split('|').at(-2)?.trim())).toEqual([
      ...[1, 2, 3].map((zones) => exact(months('endpoints', zones)[0] ?? 0)),
      exact(months('nat', 2)[0] ?? 0),
      exact(months('existing-vpc', 2)[0] ?? 0),
      exact(others.reduce((sum, usd) => sum + usd, 0)),
    ])
  })

  test('of a million images are those of the code', async () => {
    const prices = await readPrices()
    const rows = instancesOf(prices, 'us-east-2')
      .filter((instance) => holdsModel(instance, 11e9))
      .map((instance) => {
        const cells = [0.4, 1, 4].map((rate) => {
          const imagesPerSecond = { low: rate, mid: rate, high: rate }
          const work = {
            images: 1_000_000,
            imagesPerSecond,
            maxWorkers: 16,
            isUpload: false,
            hasClaims: false,
          }
          const { usd } = planCost({ ...work, compute: 'instances' }, instance, prices.services)
          return `${formatUsd(usd.mid)} (${formatUsd(usd.low)} to ${formatUsd(usd.high)})`
        })
        return `| ${[instance.type, ...cells].join(' | ')} |`
      })
    expect(rowsOf('million')).toEqual(rows)
  })
})
