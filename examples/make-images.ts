#!/usr/bin/env node
// Makes the sample images with their gold, manifest and the table in README.md: `node cli/launch.js examples/make-images.ts`.
// The seeds are chosen by eye and by the shipped model's labels. It knows no model.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import type { GoldLine } from '../schemas/gold.ts'
import type { Concept } from '../schemas/world.ts'
import { samples, worldOf } from './samples.ts'
import { generateScene } from './scenes/generate.ts'
import { numberWords, splitQuestions } from './scenes/questions.ts'
import { encodeScene, loadIcons } from './scenes/render.ts'
import { readWorld } from './scenes/world.ts'

const here = fileURLToPath(new URL('./', import.meta.url))
const world = await readWorld()
const icons = await loadIcons(world, world.styles.trained)
const [gold, manifest, rows]: [string[], string[], string[]] = [[], [], []]

await rm(join(here, 'images'), { recursive: true, force: true })
await mkdir(join(here, 'images'), { recursive: true })
for (const sample of samples) {
  const { seed, objectCount, width, height, format, orientation, note } = sample
  const styles = world.styles.trained
  const scene = await generateScene({
    world: worldOf(sample, world),
    icons,
    styles,
    seed,
    index: 0,
    objectCount,
    width,
    height,
    key: 'unnamed',
  })
  const name = `${contentOf(scene.gold).join('-').replaceAll(' ', '-')}.${format === 'jpeg' ? 'jpg' : format}`
  const key = `images/${name}`
  const line = { ...scene.gold, key }
  const bytes = await encodeScene(scene.image, {
    format,
    ...(orientation === undefined ? {} : { orientation }),
  })
  await writeFile(join(here, key), bytes)
  gold.push(JSON.stringify(line))
  manifest.push(JSON.stringify({ image: key, ...splitQuestions(line) }))
  rows.push(`| \`${name}\` | ${contentOf(line).join(', ')}; ${note} |`)
  console.log(`${key}: ${bytes.length} bytes`)
}
await writeFile(join(here, 'gold.jsonl'), `${gold.join('\n')}\n`)
await writeFile(join(here, 'manifest.jsonl'), `${manifest.join('\n')}\n`)
await updateReadme(rows)

/** ["dog", "two apples"], in the order of the world's concepts. */
function contentOf({ objects }: GoldLine): string[] {
  const countOf = ({ name }: Concept) => objects.filter((object) => object.name === name).length
  return world.concepts.flatMap((concept) => {
    const count = countOf(concept)
    if (count === 0) return []
    return [
      count === 1 ? concept.name : `${(numberWords[count] ?? String(count)).toLowerCase()} ${concept.plural}`,
    ]
  })
}

async function updateReadme(lines: readonly string[]): Promise<void> {
  const path = join(here, 'README.md')
  const text = await readFile(path, 'utf8')
  const table = ['| image | shows |', '|---|---|', ...lines].join('\n')
  await writeFile(path, text.replace(/(<!-- samples -->\n)[\s\S]*?(<!-- end -->)/, `$1${table}\n$2`))
}
