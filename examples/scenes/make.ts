#!/usr/bin/env node
// Makes scenes with their truth: DIR/images/*, DIR/gold.jsonl, and DIR/manifest.jsonl that `coglabel label` reads.
// Usage: node cli/launch.js examples/scenes/make.ts --count N --seed S --out DIR [--styles trained|held-out] [--objects 1-6]
//          [--pairs any|held-out] [--size 448x448] [--format png|jpeg|webp] [--world models/NAME/world.json]
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'
import { generateScene } from './generate.ts'
import { splitQuestions } from './questions.ts'
import { encodeScene, loadIcons } from './render.ts'
import { readWorld, shippedWorld } from './world.ts'

const Size = z.int().min(64).max(4096)

const Flags = z.strictObject({
  count: z.coerce.number().int().min(1).max(1_000_000),
  seed: z.coerce.number().int().min(0),
  out: z.string().min(1),
  world: z.string().min(1),
  styles: z.enum(['trained', 'held-out']),
  pairs: z.enum(['any', 'held-out']),
  objects: z
    .string()
    .regex(/^[1-8](-[1-8])?$/)
    .transform((text) => text.split('-').map(Number)),
  size: z
    .string()
    .regex(/^\d+x\d+$/)
    .transform((text) => text.split('x').map(Number))
    .pipe(z.tuple([Size, Size])),
  format: z.enum(['png', 'jpeg', 'webp']),
})

try {
  await make(readFlags(process.argv.slice(2)))
} catch (error) {
  if (!(error instanceof UserError)) throw error
  console.error(`make: ${error.message}`)
  process.exitCode = 2
}

async function make(flags: z.infer<typeof Flags>): Promise<void> {
  const world = await readWorld(flags.world)
  const styles = flags.styles === 'trained' ? world.styles.trained : world.styles.heldOut
  const icons = await loadIcons(world, styles)
  const [min = 1, max = min] = flags.objects
  const [width, height] = flags.size
  const extension = flags.format === 'jpeg' ? 'jpg' : flags.format
  const gold: string[] = []
  const manifest: string[] = []
  await mkdir(join(flags.out, 'images'), { recursive: true })
  for (let index = 0; index < flags.count; index += 1) {
    const key = `images/${String(index).padStart(5, '0')}.${extension}`
    const objectCount = min + (index % (max - min + 1))
    const scene = await generateScene({
      world,
      icons,
      styles,
      seed: flags.seed,
      index,
      objectCount,
      pairs: flags.pairs,
      width,
      height,
      key,
    })
    await writeFile(join(flags.out, key), await encodeScene(scene.image, { format: flags.format }))
    gold.push(JSON.stringify(scene.gold))
    manifest.push(JSON.stringify({ image: key, ...splitQuestions(scene.gold) }))
  }
  await writeFile(join(flags.out, 'gold.jsonl'), `${gold.join('\n')}\n`)
  await writeFile(join(flags.out, 'manifest.jsonl'), `${manifest.join('\n')}\n`)
  console.log(
    `${flags.count} scenes of ${min} to ${max} objects in ${flags.out}, style ${flags.styles}, seed ${flags.seed}`,
  )
}

function readFlags(args: readonly string[]): z.infer<typeof Flags> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      count: { type: 'string' },
      seed: { type: 'string', default: '0' },
      out: { type: 'string' },
      world: { type: 'string', default: shippedWorld },
      styles: { type: 'string', default: 'trained' },
      pairs: { type: 'string', default: 'any' },
      objects: { type: 'string', default: '1-6' },
      size: { type: 'string', default: '448x448' },
      format: { type: 'string', default: 'png' },
    },
  })
  const parsed = Flags.safeParse(values)
  if (!parsed.success) throw new UserError(`wrong usage:\n${z.prettifyError(parsed.error)}`)
  const [min = 1, max = min] = parsed.data.objects
  if (min > max) throw new UserError(`--objects is ${min}-${max}; expected the smaller number first`)
  return parsed.data
}
