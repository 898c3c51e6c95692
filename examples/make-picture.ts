#!/usr/bin/env node
// Makes labelled.png, the picture of the README: four sample images with their labels. `node cli/launch.js examples/make-picture.ts`
// It runs the command line as anyone would, and knows nothing below it but the contact sheet.
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { contactSheet } from '../gpu-worker/image/draw.ts'
import { GoldLine } from '../schemas/gold.ts'
import { samples } from './samples.ts'

const here = fileURLToPath(new URL('./', import.meta.url))
const cli = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const work = await mkdtemp(join(tmpdir(), 'coglabel-picture-'))
try {
  const [run, pictures] = [join(work, 'run'), join(work, 'pictures')]
  coglabel('label', join(here, 'images'), '--out', run, '--tasks', 'grounded-caption')
  coglabel('draw', run, '--out', pictures)
  const names = await readPicturedNames()
  const tiles = await Promise.all(
    names.map((name) => readFile(join(pictures, `${name}.grounded-caption.png`))),
  )
  const png = await contactSheet(tiles, { columns: tiles.length, tileWidth: 400, isCompact: true })
  await writeFile(join(here, 'labelled.png'), png)
  console.log(`examples/labelled.png: ${png.length} bytes`)
} finally {
  await rm(work, { recursive: true, force: true })
}

function coglabel(...args: string[]): void {
  execFileSync(process.execPath, [cli, ...args], { stdio: 'inherit' })
}

/** File names of the samples that are pictured: the gold has a line for each sample, in their order. */
async function readPicturedNames(): Promise<string[]> {
  const lines = (await readFile(join(here, 'gold.jsonl'), 'utf8')).trim().split('\n')
  const keys = lines.map((line) => GoldLine.parse(JSON.parse(line)).key)
  return keys.filter((_, index) => samples[index]?.isPictured === true).map((key) => basename(key))
}
