#!/usr/bin/env node
// Which seeds to put into samples.ts: draws candidates for each sample, has the shipped model label them, and lists
// those it is most right about. Usage: node cli/launch.js examples/choose-samples.ts [CANDIDATES_EACH] [FIRST_SEED]
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { samples, worldOf } from './samples.ts'
import { generateScene } from './scenes/generate.ts'
import { encodeScene, loadIcons } from './scenes/render.ts'
import { readWorld } from './scenes/world.ts'

const [each = 40, firstSeed = 0] = process.argv.slice(2).map(Number)
const maxBytes = 58_000
const shown = 6
const cli = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const world = await readWorld()
const icons = await loadIcons(world, world.styles.trained)

const Evaluated = z.object({
  byImage: z.array(
    z.object({
      key: z.string(),
      grades: z.array(z.object({ right: z.number(), total: z.number(), missing: z.number() })),
    }),
  ),
})

const work = await mkdtemp(join(tmpdir(), 'coglabel-samples-'))
try {
  const contents = await drawCandidates()
  coglabel(
    'label',
    join(work, 'images'),
    '--out',
    join(work, 'run'),
    '--tasks',
    'caption,grounded-caption',
    '--health',
    'off',
  )
  coglabel('evaluate', join(work, 'run'), '--gold', join(work, 'gold.jsonl'), '--worst', '0')
  const { byImage } = Evaluated.parse(JSON.parse(await readFile(join(work, 'run/evaluation.json'), 'utf8')))
  for (const slot of samples.keys()) {
    console.log(`\nsample ${slot}, now seed ${samples[slot]?.seed ?? ''}`)
    const ranked = byImage
      .filter(({ key }) => key.startsWith(`${slot}-`))
      .map(({ key, grades }) => ({ key, ...score(grades) }))
      .toSorted((a, b) => b.share - a.share)
    for (const { key, share, wrong } of ranked.slice(0, shown))
      console.log(
        `  ${key.padEnd(14)} ${(share * 100).toFixed(0)} % (${wrong} wrong)  ${contents.get(key) ?? ''}`,
      )
  }
} finally {
  await rm(work, { recursive: true, force: true })
}

/** Writes the candidates that are small enough, and their gold; returns what is in each. */
async function drawCandidates(): Promise<Map<string, string>> {
  const contents = new Map<string, string>()
  const gold: string[] = []
  await mkdir(join(work, 'images'))
  for (const [slot, sample] of samples.entries()) {
    for (let at = 0; at < each; at += 1) {
      const seed = (slot + 1) * 1000 + firstSeed + at
      const key = `${slot}-${seed}`
      const styles = world.styles.trained
      const scene = await generateScene({
        ...sample,
        world: worldOf(sample, world),
        icons,
        styles,
        seed,
        index: 0,
        key: `${key}.${sample.format}`,
      })
      const bytes = await encodeScene(scene.image, { format: sample.format })
      if (bytes.length > maxBytes) continue
      await writeFile(join(work, 'images', scene.gold.key), bytes)
      gold.push(JSON.stringify(scene.gold))
      contents.set(scene.gold.key, scene.gold.objects.map(({ name }) => name).join(', '))
    }
  }
  await writeFile(join(work, 'gold.jsonl'), gold.join('\n'))
  return contents
}

/** Only what was asked counts: the questions of the gold are not. */
function score(grades: readonly { right: number; total: number; missing: number }[]): {
  share: number
  wrong: number
} {
  const asked = grades.filter(({ missing }) => missing === 0)
  const right = asked.reduce((sum, grade) => sum + grade.right, 0)
  const total = asked.reduce((sum, grade) => sum + grade.total, 0)
  return { share: total === 0 ? 0 : right / total, wrong: total - right }
}

function coglabel(...args: string[]): void {
  execFileSync(process.execPath, [cli, ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
}
