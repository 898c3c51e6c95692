// Every format: what is written is as the golden files have it, comes back as far as the format says, and loads.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { absentAnswer } from '../../../dataset/exports/core/dialect.ts'
import { listFiles } from '../../../dataset/exports/core/files.ts'
import type { ReadImage } from '../../../dataset/exports/core/format.ts'
import { checkLoading } from '../../../dataset/exports/core/rules.ts'
import { exportFormats, findFormat } from '../../../dataset/exports/registry.ts'
import type { Box } from '../../../schemas/task-output.ts'
import { everyShape, exportStore, recordsOf, sealedStore } from '../../helpers/export-run.ts'
import { tempFolder } from '../../helpers/temp-folder.ts'
import { brokenExports } from './broken.ts'

const golden = new URL('../../golden/data/exports/', import.meta.url)

/** What comes back of a run: the test's own account of each format's declared losses. */
type Keeps = {
  /** Texts come back as texts, as the answer to their question, or not. */
  texts: 'text' | 'turn' | null
  /** Questions and answers; what was looked for and is absent only where `asked`. */
  turns: boolean
  asked: boolean
  boxes: 'words' | 'category' | 'bare' | null
  /** Offsets of where the words end. */
  ends: boolean
  image: 'key' | null
}

const whole: Keeps = { texts: 'text', turns: true, asked: false, boxes: 'words', ends: true, image: 'key' }
const talk: Keeps = { texts: 'turn', turns: true, asked: true, boxes: 'bare', ends: true, image: 'key' }
const keeps: Readonly<Record<string, Keeps>> = {
  'llava': talk,
  'sharegpt4v': { ...talk, turns: false, asked: false, boxes: null },
  'openai-chat': { ...talk, image: null },
  'openai-batch': { ...talk, image: null },
  'llama-factory': talk,
  'ms-swift': { ...talk, boxes: 'words' },
  'coco': { texts: 'text', turns: false, asked: false, boxes: 'category', ends: false, image: 'key' },
  'webdataset': whole,
  'sidecar': whole,
  'csv': talk,
}

describe('the registry', () => {
  test('has every format file, and each says what is lost and what its loaders demand', async () => {
    const files = await readdir(new URL('../../../dataset/exports/', import.meta.url), {
      withFileTypes: true,
    })
    const names = files.filter((file) => file.isFile() && file.name !== 'registry.ts').map(({ name }) => name)
    expect(names.toSorted()).toEqual(exportFormats.map(({ name }) => `${name}.ts`).toSorted())
    for (const { lost, rules, name } of exportFormats) {
      expect(lost.length, name).toBeGreaterThan(0)
      expect(rules.length, name).toBeGreaterThan(0)
    }
    expect(Object.keys(keeps).toSorted()).toEqual(exportFormats.map(({ name }) => name).toSorted())
  })

  test('names what it has when asked for another', () => {
    expect(() => findFormat('yolo')).toThrow(/no format "yolo"; expected one of llava, /)
  })
})

describe.each(exportFormats.map((format) => [format.name, format] as const))('%s', (name, format) => {
  test('writes the golden files, which come back but for what is declared lost, and load', async () => {
    const { folder, report } = await exportStore(await sealedStore(recordsOf(everyShape)), format)
    expect(report.broken).toEqual([])
    const names = await listFiles(folder)
    const kept = keeps[name]!
    const back: ReadImage[] = []
    for await (const image of format.read({ folder, names })) back.push(image)
    expect(factsOfRead(back, kept)).toEqual(factsOfRun(kept))
    await expectGolden(name, { folder, names: names.filter((file) => !file.startsWith('card/')) })
  })

  test.each(format.rules.map((rule) => [rule.name]))(
    'refuses a file that breaks the rule %s',
    async (rule) => {
      const files = brokenExports[name]?.[rule]
      expect(files, `tests/dataset/exports/broken.ts has no file that breaks ${name} ${rule}`).toBeDefined()
      const folder = await tempFolder()
      for (const [path, content] of Object.entries(files!)) {
        await mkdir(dirname(join(folder, path)), { recursive: true })
        await writeFile(join(folder, path), content)
      }
      const broken = await checkLoading(format, { folder, names: await listFiles(folder) })
      expect(broken.map((one) => one.rule)).toEqual([rule])
    },
  )
})

/** Set UPDATE_GOLDEN=1 to write them; read what changed before you commit it. */
async function expectGolden(
  format: string,
  { folder, names }: { folder: string; names: string[] },
): Promise<void> {
  const place = new URL(`${format}/`, golden)
  for (const name of names) {
    const written = await readFile(join(folder, name))
    const file = new URL(encodeURI(name), place)
    if (process.env['UPDATE_GOLDEN'] === '1') {
      await mkdir(new URL('.', file), { recursive: true })
      await writeFile(file, written)
    }
    expect(written.toString('latin1'), name).toBe((await readFile(file)).toString('latin1'))
  }
}

function factsOfRead(images: readonly ReadImage[], kept: Keeps): string[] {
  const facts = images.flatMap(({ image, labels }) => {
    const where =
      kept.image === null ? '' : `${image.replace(/^images\//, '').replace('memory://test/', '')} `
    return labels.flatMap(({ text, turns, regions }) => [
      ...(text === null ? [] : [`${where}text ${text}`]),
      ...turns.map(({ question, answer }) => `${where}turn ${question} ${answer}`),
      ...regions.flatMap((region) => region.boxes.map((box) => `${where}${boxFact(box, region, kept)}`)),
    ])
  })
  return facts.toSorted()
}

function factsOfRun(kept: Keeps): string[] {
  const facts = everyShape.flatMap(({ key, said }) => {
    const where = kept.image === null ? '' : `${key} `
    return said.flatMap(({ question, output }) => {
      const lines: string[] = []
      const phrases = 'phrases' in output ? output.phrases : []
      if ('turns' in output && kept.turns)
        lines.push(...output.turns.map((turn) => `turn ${turn.question} ${turn.answer}`))
      if ('text' in output && kept.texts === 'text') lines.push(`text ${output.text}`)
      if ('text' in output && kept.texts === 'turn') lines.push(`turn ${question} ${output.text}`)
      if ('phrase' in output && kept.asked)
        lines.push(`turn ${question} ${output.boxes.length === 0 ? absentAnswer : output.phrase}`)
      if ('phrase' in output && kept.boxes !== null) {
        const end = kept.asked ? output.phrase.length : null
        lines.push(...output.boxes.map((box) => boxFact(box, { text: output.phrase, end }, kept)))
      }
      if (kept.boxes !== null)
        lines.push(...phrases.flatMap((phrase) => phrase.boxes.map((box) => boxFact(box, phrase, kept))))
      return lines.map((line) => where + line)
    })
  })
  return facts.toSorted()
}

function boxFact(box: Box, { text, end }: { text: string | null; end: number | null }, kept: Keeps): string {
  const article = /^(a|an|the) /i
  const words =
    kept.boxes === 'words' ? text : kept.boxes === 'category' ? text?.toLowerCase().replace(article, '') : ''
  return `box ${box.map((side) => side.toFixed(2)).join(' ')} ${words ?? ''} ${kept.ends ? String(end) : ''}`
}
