// Which second look finds wrong boxes of grounded captions, on scenes with known truth. A box is wrong when no thing of
// that name, of its own, overlaps it by half. The looks, each a prompt or two:
//   cycle   the phrase is asked for again; its box is elsewhere (IoU below 0.3), as region-cycle does
//   flip    the same of the mirrored image
//   name    what is at the box is asked; it is called something else
//   crop    the box with a margin is shown as an image; its caption names something else
//   probe   whether the phrase's thing is there is asked of that crop; no
//   node bench/region-signals.ts MODEL SCENES [--images 240] [--margin 0.15]
// Prints a JSON line a look, of boxes and of whole captions, and a table.
import { readFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { intersectionOverUnion } from '../dataset/box-overlap.ts'
import type { ImageSession, PromptRequest } from '../gpu-worker/engine/contract.ts'
import { openEngineHost } from '../gpu-worker/engine/host.ts'
import { decodeImage } from '../gpu-worker/image/decode.ts'
import { preprocess } from '../gpu-worker/image/preprocess.ts'
import { findBoxes, writeBox } from '../gpu-worker/tasks/boxes.ts'
import { entitiesIn, withArticle } from '../gpu-worker/tasks/entities.ts'
import { parseGroundedCaption } from '../gpu-worker/tasks/grounded-caption.ts'
import { GoldLine } from '../schemas/gold.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { type Box, GroundedCaptionOutput } from '../schemas/task-output.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { images: { type: 'string', default: '240' }, margin: { type: 'string', default: '0.15' } },
})
const [modelFolder = '', scenes = ''] = positionals
const looks = ['cycle', 'flip', 'name', 'crop', 'probe'] as const
type Look = (typeof looks)[number]
type Seen = { image: string; isWrong: boolean; found: Record<Look, boolean> }
type Upright = { rgb: Uint8Array; width: number; height: number }

const engine = await openEngineHost({ modelFolder })
const lines = (await readFile(join(scenes, 'gold.jsonl'), 'utf8')).trimEnd().split('\n')
const gold = lines.slice(0, Number(values.images)).map((line) => GoldLine.parse(JSON.parse(line)))
const seen: Seen[] = []
for (const scene of gold) seen.push(...(await lookAt(scene)))
await engine.close()

const named: (readonly [string, (one: Seen) => boolean])[] = [
  ...looks.map((look) => [look, ({ found }: Seen) => found[look]] as const),
  ['cycle or name', ({ found }) => found.cycle || found.name],
  ['flip or name', ({ found }) => found.flip || found.name],
  ['flip or crop', ({ found }) => found.flip || found.crop],
  ['name or crop', ({ found }) => found.name || found.crop],
  ['flip, name or crop', ({ found }) => found.flip || found.name || found.crop],
  [
    'two of flip, name, crop',
    ({ found }) => Number(found.flip) + Number(found.name) + Number(found.crop) >= 2,
  ],
]
const captions = [...Map.groupBy(seen, ({ image }) => image).values()]
console.log(
  '| look | boxes: precision | recall | | captions: precision | recall | |\n|---|---|---|---|---|---|---|',
)
for (const [name, isFound] of named) {
  const boxes = rates(seen.map((one) => [one.isWrong, isFound(one)]))
  const whole = rates(captions.map((own) => [own.some(({ isWrong }) => isWrong), own.some(isFound)]))
  console.error(JSON.stringify({ name, boxes, captions: whole, load: loadavg()[0] }))
  console.log(`| ${[name, ...cells(boxes), ...cells(whole)].join(' | ')} |`)
}

async function lookAt({ key, objects }: GoldLine): Promise<Seen[]> {
  const decoded = await decodeImage(await readFile(join(scenes, key)))
  if (!decoded.ok) throw new Error(`${key}: ${decoded.failure.message}`)
  const upright = decoded.image
  const [session, mirrored] = [await open(upright), await open(mirror(upright))]
  const [text = ''] = await ask(session, ['Describe the image with boxes.'])
  const parsed = parseGroundedCaption(text)
  const { phrases } = parsed.ok ? GroundedCaptionOutput.parse(parsed.output) : { phrases: [] }
  const taken = new Set<object>()
  const all: Seen[] = []
  for (const { text: phrase, boxes } of phrases) {
    const [entity] = entitiesIn(phrase)
    if (entity === undefined) continue
    const where = `Where is ${phrase.toLowerCase()}? Give its box.`
    const again = boxesIn(await ask(session, [where]))
    const flipped = boxesIn(await ask(mirrored, [where])).map(mirrorBox)
    for (const box of boxes) {
      const truth = objects.find(
        (one) => !taken.has(one) && one.name === entity.name && intersectionOverUnion(one.box, box) >= 0.5,
      )
      if (truth !== undefined) taken.add(truth)
      const [name = ''] = await ask(session, [`What is at ${writeBox(box)}?`])
      const close = await open(crop(upright, box))
      const [caption = '', probe = ''] = await ask(close, [
        'Describe the image.',
        `Is there ${withArticle(entity.name)}?`,
      ])
      await close.close()
      const names = (said: string) => entitiesIn(said).some((other) => other.name === entity.name)
      const isAt = (other: Box) => intersectionOverUnion(other, box) >= 0.3
      all.push({
        image: key,
        isWrong: truth === undefined,
        found: {
          cycle: !again.some(isAt),
          flip: !flipped.some(isAt),
          name: !names(name),
          crop: !names(caption),
          probe: !/^yes/i.test(probe),
        },
      })
    }
  }
  await Promise.all([session.close(), mirrored.close()])
  return all
}

async function open(upright: Upright): Promise<ImageSession> {
  return await engine.openImage(preprocess({ ...upright, ...engine.info.image }))
}

async function ask(session: ImageSession, questions: readonly string[]): Promise<string[]> {
  const prompts = questions.map((question): PromptRequest => ({
    template: engine.info.template,
    history: [],
    question,
    maxNewTokens: 128,
    sampling: greedySampling,
  }))
  return (await session.generate(prompts)).map(({ text }) => text)
}

function boxesIn(answers: readonly string[]): Box[] {
  return answers.flatMap((answer) => findBoxes(answer).groups.flatMap(({ boxes }) => boxes))
}

function mirror({ rgb, width, height }: Upright): Upright {
  const turned = new Uint8Array(rgb.length)
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const from = (y * width + x) * 3
      turned.set(rgb.subarray(from, from + 3), (y * width + width - 1 - x) * 3)
    }
  return { rgb: turned, width, height }
}

function mirrorBox([x0, y0, x1, y1]: Box): Box {
  return [1 - x1, y0, 1 - x0, y1]
}

/** The box with a margin of its longer side, as a square where the image allows it. */
function crop({ rgb, width, height }: Upright, [x0, y0, x1, y1]: Box): Upright {
  const half = (Math.max((x1 - x0) * width, (y1 - y0) * height) * (1 + 2 * Number(values.margin))) / 2
  const [middleX, middleY] = [((x0 + x1) / 2) * width, ((y0 + y1) / 2) * height]
  const [left, top] = [Math.max(0, Math.floor(middleX - half)), Math.max(0, Math.floor(middleY - half))]
  const right = Math.max(left + 1, Math.min(width, Math.ceil(middleX + half)))
  const bottom = Math.max(top + 1, Math.min(height, Math.ceil(middleY + half)))
  const rows = Array.from({ length: bottom - top }, (_, row) => {
    const from = ((top + row) * width + left) * 3
    return rgb.subarray(from, from + (right - left) * 3)
  })
  return { rgb: Buffer.concat(rows), width: right - left, height: bottom - top }
}

type Rates = { precision: number; recall: number; found: number; wrong: number; of: number }

function rates(pairs: readonly (readonly [isWrong: boolean, isFound: boolean])[]): Rates {
  const wrong = pairs.filter(([isWrong]) => isWrong).length
  const flagged = pairs.filter(([, isFound]) => isFound)
  const found = flagged.filter(([isWrong]) => isWrong).length
  return { precision: found / flagged.length, recall: found / wrong, found, wrong, of: pairs.length }
}

function cells({ precision, recall, found, wrong, of }: Rates): string[] {
  return [(precision * 100).toFixed(0), (recall * 100).toFixed(0), `${found} of ${wrong} wrong in ${of}`]
}
