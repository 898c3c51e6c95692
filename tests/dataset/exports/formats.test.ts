// Every format: what is written is as the golden files have it, comes back as far as the format says, and loads.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { absentAnswer } from '../../../dataset/exports/core/dialect.ts'
import { listFiles } from '../../../dataset/exports/core/files.ts'
import type { ReadImage } from '../../../dataset/exports/core/format.ts'
import { checkLoading } from '../../../dataset/exports/core/rules.ts'
import { exportFormats, findFormat } from '../../../dataset/exports/registry.ts'
import { UserError } from '../../../schemas/errors.ts'
import type { Box, TaskOutput } from '../../../schemas/task-output.ts'
import { everyShape, exportStore, recordsOf, sealedStore } from '../../helpers/export-run.ts'
import { tempFolder } from '../../helpers/temp-folder.ts'
import { brokenExports } from './broken.ts'

const golden = new URL('../../golden/data/exports/', import.meta.url)

/** What comes back of a run: the test's own account of each format's declared losses. */
type Keeps = {
  /** Texts come back as texts (all, those with boxes, the first), as the answer to their question, or not. */
  texts: 'text' | 'grounded' | 'caption' | 'turn' | null
  /** Questions and answers; what was looked for and is absent only where `asked`. */
  turns: boolean
  asked: boolean
  boxes: 'words' | 'category' | 'bare' | null
  /** Offsets of where the words end. */
  ends: boolean
  image: 'key' | null
  /** Only regions with one box; a phrase that was asked for as a text; boxes only near. */
  single?: boolean
  phraseAsText?: boolean
  tolerance?: number
}

const whole: Keeps = { texts: 'text', turns: true, asked: false, boxes: 'words', ends: true, image: 'key' }
const talk: Keeps = { texts: 'turn', turns: true, asked: true, boxes: 'bare', ends: true, image: 'key' }
const onlyBoxes: Keeps = { ...whole, texts: null, turns: false, boxes: null, ends: false }
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
  'cogvlm-sft': { ...talk, texts: 'text', image: null },
  'refcoco': { ...onlyBoxes, boxes: 'words', single: true },
  'grit': { ...onlyBoxes, texts: 'grounded', boxes: 'words', ends: true },
  'kosmos2': {
    ...onlyBoxes,
    texts: 'text',
    boxes: 'words',
    ends: true,
    phraseAsText: true,
    tolerance: 1 / 32,
  },
  'ground-truth': { ...onlyBoxes, texts: 'caption', boxes: 'category' },
  'bedrock-batch': { ...talk, image: null },
  'label-studio': { ...onlyBoxes, texts: 'caption', boxes: 'words' },
  'fiftyone': { ...onlyBoxes, texts: 'caption', turns: true, boxes: 'words' },
  'parquet': whole,
  'jsonl': whole,
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
    expectSame(factsOfRead(back, kept), factsOfRun(kept), kept)
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

test.each([
  ['sidecar', 'images/1.json'],
  ['cogvlm-sft', 'train/labels_en/1.json'],
  ['coco', 'annotations.json'],
  ['llava', 'llava.json'],
  ['openai-chat', 'openai-chat.jsonl'],
])('a file of %s that is torn is named, with how it begins', async (name, path) => {
  const folder = await tempFolder()
  await mkdir(dirname(join(folder, path)), { recursive: true })
  await writeFile(join(folder, path), '[{"labels": ')
  const checked = checkLoading(findFormat(name), { folder, names: [path] })
  await expect(checked).rejects.toThrow(UserError)
  await expect(checked).rejects.toThrow(path)
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

function factsOfRead(images: readonly ReadImage[], kept: Keeps): Fact[] {
  const facts = images.flatMap(({ image, labels }) => {
    const where = kept.image === null ? '' : nameIn(image)
    return labels.flatMap(({ text, turns, regions }): Fact[] => [
      ...(text === null ? [] : [{ where, says: `text ${text}`, box: null }]),
      ...turns.map(({ question, answer }) => ({ where, says: `turn ${question} ${answer}`, box: null })),
      ...regions.flatMap((region) =>
        region.boxes.map((box) => ({ where, says: wordsOf(region, kept), box })),
      ),
    ])
  })
  return facts.toSorted(compareFacts)
}

/** The key in what a data file calls an image. */
function nameIn(image: string): string {
  return image.replace(/^(images|data)\//, '').replace('s3://test/', '')
}

type Fact = { where: string; says: string; box: Box | null }

function compareFacts(left: Fact, right: Fact): number {
  const [a, b] = [left, right].map(({ where, says, box }) =>
    JSON.stringify([where, says, box?.map((side) => Math.round(side * 8))]),
  )
  return a! < b! ? -1 : 1
}

function factsOfRun(kept: Keeps): Fact[] {
  const facts = everyShape.flatMap(({ key, said }) => {
    const where = kept.image === null ? '' : key
    const firstText = said.findIndex(({ output }) => 'text' in output)
    return said.flatMap(({ question, output }, index): Fact[] => {
      const says: string[] = []
      if ('turns' in output && kept.turns)
        says.push(...output.turns.map((turn) => `turn ${turn.question} ${turn.answer}`))
      if ('text' in output) {
        const isKept = {
          text: true,
          grounded: 'phrases' in output,
          caption: index === firstText,
          turn: false,
        }
        if (kept.texts === 'turn') says.push(`turn ${question} ${output.text}`)
        else if (kept.texts !== null && isKept[kept.texts]) says.push(`text ${output.text}`)
      }
      if ('phrase' in output && kept.asked)
        says.push(`turn ${question} ${output.boxes.length === 0 ? absentAnswer : output.phrase}`)
      if ('phrase' in output && kept.phraseAsText === true && output.boxes.length > 0)
        says.push(`text ${output.phrase}`)
      const boxes = regionsSaid(output, kept).filter(
        (region) => kept.single !== true || region.boxes.length === 1,
      )
      return [
        ...says.map((one) => ({ where, says: one, box: null })),
        ...boxes.flatMap((region) =>
          region.boxes.map((box) => ({ where, says: wordsOf(region, kept), box })),
        ),
      ]
    })
  })
  return facts.toSorted(compareFacts)
}

type RegionSaid = { text: string; end: number | null; boxes: Box[] }

function regionsSaid(output: TaskOutput, kept: Keeps): RegionSaid[] {
  if (kept.boxes === null) return []
  if ('phrases' in output) return output.phrases
  if (!('phrase' in output) || kept.texts === 'grounded') return []
  const isInText = kept.asked || kept.phraseAsText === true
  return [{ text: output.phrase, end: isInText ? output.phrase.length : null, boxes: output.boxes }]
}

function wordsOf({ text, end }: { text: string | null; end: number | null }, kept: Keeps): string {
  const words =
    kept.boxes === 'words'
      ? text
      : kept.boxes === 'category'
        ? text?.toLowerCase().replace(/^(a|an|the) /i, '')
        : ''
  return `box ${words ?? ''} ${kept.ends ? String(end) : ''}`
}

/** The same facts, boxes as near as the format says. */
function expectSame(read: readonly Fact[], said: readonly Fact[], { tolerance = 0.005 }: Keeps): void {
  expect(read.map(({ where, says }) => [where, says])).toEqual(said.map(({ where, says }) => [where, says]))
  for (const [index, { box }] of read.entries())
    for (const [side, value] of (box ?? []).entries())
      expect(
        Math.abs(value - (said[index]!.box?.[side] ?? NaN)),
        `${read[index]!.says} ${JSON.stringify(box)}`,
      ).toBeLessThanOrEqual(tolerance)
}
