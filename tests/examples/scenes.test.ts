// Scenes have the truth they claim: boxes from their pixels, placement as in training, questions in trained forms.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { generateScene, type GeneratedScene } from '../../examples/scenes/generate.ts'
import { overlap, type PixelBox, planScene } from '../../examples/scenes/layout.ts'
import { forms, numberWords, places, splitQuestions, writeBoxes } from '../../examples/scenes/questions.ts'
import { createRandom } from '../../examples/scenes/random.ts'
import { encodeScene, loadIcons, renderScene } from '../../examples/scenes/render.ts'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import { GoldLine } from '../../schemas/gold.ts'
import { isHeldOutPair, World } from '../../schemas/world.ts'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const world = World.parse(JSON.parse(read('models/scenes-v2/world.json')))
const styles = world.styles.trained
// Two sets are enough to mix styles and half the time to load.
const loadedStyles = ['noto', 'twemoji']
const icons = await loadIcons(world, loadedStyles)

async function sceneOf(index: number, { width = 448, height = 448, seed = 5 } = {}): Promise<GeneratedScene> {
  const objectCount = 1 + (index % 6)
  return await generateScene({
    world,
    icons,
    styles: loadedStyles,
    seed,
    index,
    objectCount,
    width,
    height,
    key: `images/${index}.png`,
  })
}

describe('a scene', () => {
  it('is the same, pixel for pixel, for the same seed and number, and another for others', async () => {
    const [first, again, other] = [await sceneOf(3), await sceneOf(3), await sceneOf(3, { seed: 6 })]
    expect(again).toEqual(first)
    expect(other.gold.objects).not.toEqual(first.gold.objects)
  })

  it.each([
    { width: 448, height: 448 },
    { width: 640, height: 480 },
    { width: 300, height: 500 },
  ])('holds the objects asked for, placed as in training, at $width x $height', async (size) => {
    for (let index = 0; index < 18; index += 1) {
      const { gold, image } = await sceneOf(index, size)
      expect(GoldLine.parse(gold)).toEqual(gold)
      expect(gold.objects.length).toBe(1 + (index % 6))
      expect(image.rgb.length).toBe(size.width * size.height * 3)
      for (const [at, { box }] of gold.objects.entries()) {
        const [x0, y0, x1, y1] = box
        const longer = Math.max(x1 - x0, y1 - y0)
        expect(longer).toBeGreaterThan(world.scene.longerSide.min - 0.02)
        expect(longer).toBeLessThan(world.scene.longerSide.max + 0.01)
        for (const other of image.boxes.slice(at + 1)) {
          expect(overlap(image.boxes[at]!, other).iou).toBeLessThanOrEqual(world.scene.maxOverlapIoU)
        }
      }
    }
  })

  it('has boxes that are tight around what differs from a plain background', async () => {
    const random = createRandom('tight')
    for (let round = 0; round < 12; round += 1) {
      const plan = planScene({
        world,
        width: 400,
        height: 320,
        objectCount: 1,
        styles: loadedStyles,
        pairs: 'any',
        aspectOf: icons.aspectOf,
        random,
      })
      // A colour that no icon has much of, so that nothing of the object is lost in it.
      const background = { name: 'plain', rgb: [0, 255, 0] as [number, number, number] }
      const { rgb, boxes } = await renderScene({ ...plan, background, pattern: 'plain' }, { icons, random })
      const seen = boxOfDifference(rgb, plan)
      const [box] = boxes
      for (const side of [0, 1, 2, 3]) expect(Math.abs(seen[side]! - box![side]!)).toBeLessThanOrEqual(1)
    }
  })

  it('has a pair that no training scene has, where such pairs are asked for', () => {
    const random = createRandom('pairs')
    for (let index = 0; index < 200; index += 1) {
      const { objects } = planScene({
        world,
        width: 448,
        height: 448,
        objectCount: 2 + (index % 5),
        styles: loadedStyles,
        pairs: 'held-out',
        aspectOf: icons.aspectOf,
        random,
      })
      const kinds = [...new Set(objects.map(({ concept }) => world.concepts.indexOf(concept)))]
      const pairs = kinds.flatMap((left, at) => kinds.slice(at + 1).map((right) => [left, right] as const))
      expect(kinds.length === 1 || pairs.some(([left, right]) => isHeldOutPair(world, left, right))).toBe(
        true,
      )
    }
  })

  it('comes with each number of objects out of every concept, and mirrors half of them', () => {
    const random = createRandom('many')
    const plans = Array.from({ length: 600 }, (_, index) =>
      planScene({
        world,
        width: 448,
        height: 448,
        objectCount: 1 + (index % 6),
        styles: loadedStyles,
        pairs: 'any',
        aspectOf: icons.aspectOf,
        random,
      }),
    )
    const objects = plans.flatMap((plan) => plan.objects)
    expect(new Set(objects.map(({ concept }) => concept.name)).size).toBe(world.concepts.length)
    expect(new Set(plans.map((plan) => plan.background.name)).size).toBe(world.backgrounds.length)
    expect(new Set(plans.map((plan) => plan.pattern)).size).toBe(4)
    const flipped = objects.filter(({ isFlipped }) => isFlipped).length / objects.length
    expect(Math.abs(flipped - 0.5)).toBeLessThan(0.05)
  })
})

describe('the questions of a scene', () => {
  it('are answered rightly and asked in the forms that the model was trained on', async () => {
    const trained = read('training/turns.py')
    for (const form of Object.values(forms).flat()) expect(trained).toContain(`"${form}"`)
    for (const word of [...numberWords, ...places.flat()]) expect(trained).toContain(`"${word}"`)
  })

  it('agree with the objects', async () => {
    const answers = { yes: 0, no: 0, alike: 0 }
    for (let index = 0; index < 120; index += 1) {
      const { gold } = await sceneOf(index, { width: 96, height: 96 })
      const names = gold.objects.map(({ name }) => name)
      const asked = gold.questions.map(({ question }) => question)
      expect(new Set(asked).size).toBe(asked.length)
      for (const { question, answer, kind } of gold.questions) {
        const concept = world.concepts.find(({ name, plural, synonyms = [] }) =>
          [name, plural, ...synonyms.flatMap((word) => [word.name, word.plural])].some((word) =>
            new RegExp(`\\b${word}\\b`).test(question),
          ),
        )
        const count = names.filter((name) => name === concept?.name).length
        if (kind === 'exists') {
          expect(answer).toBe(count > 0 ? 'Yes.' : 'No.')
          answers[count > 0 ? 'yes' : 'no'] += 1
          const categories = gold.objects.map(
            ({ name }) => world.concepts.find((one) => one.name === name)!.category,
          )
          if (count === 0 && categories.includes(concept!.category)) answers.alike += 1
        }
        if (kind === 'count')
          expect(answer).toBe(`${numberWords[question.includes('objects') ? names.length : count]}.`)
        if (kind === 'ground') {
          const boxes = gold.objects.filter(({ name }) => name === concept!.name).map(({ box }) => box)
          expect(answer).toBe(writeBoxes(boxes.toSorted((a, b) => a[0] - b[0] || a[1] - b[1])))
        }
        if (kind === 'name') expect(names).toContain(/^An? (.+)\.$/.exec(answer)![1])
      }
    }
    expect(answers.yes).toBe(answers.no)
    expect(answers.alike / answers.no).toBeGreaterThan(0.5)
  })

  it('are split into those for qa and the phrases for ground', async () => {
    const { gold } = await sceneOf(4)
    const { questions, phrases } = splitQuestions(gold)
    expect(phrases.length).toBe(1)
    expect([...questions, `Where is ${phrases[0]}? Give its box.`].toSorted()).toEqual(
      gold.questions.map(({ question }) => question).toSorted(),
    )
  })
})

describe('a written scene', () => {
  it.each([
    { format: 'png' as const, orientation: 1 as const },
    { format: 'jpeg' as const, orientation: 6 as const },
    { format: 'webp' as const, orientation: 1 as const },
  ])('decodes upright from $format with orientation $orientation', async ({ format, orientation }) => {
    const { image } = await sceneOf(1, { width: 320, height: 200 })
    const decoded = await decodeImage(await encodeScene(image, { format, orientation }))
    expect(decoded.ok).toBe(true)
    if (!decoded.ok) return
    expect(decoded.image).toMatchObject({ width: 320, height: 200, orientation })
    if (format === 'png') expect(Buffer.from(decoded.image.rgb).equals(Buffer.from(image.rgb))).toBe(true)
    const difference = decoded.image.rgb.reduce((sum, value, at) => sum + Math.abs(value - image.rgb[at]!), 0)
    expect(difference / image.rgb.length).toBeLessThan(4)
  })
})

describe('the sample images', () => {
  it('are small, eight, and in their gold and manifest', async () => {
    const gold = read('examples/gold.jsonl')
      .trim()
      .split('\n')
      .map((line) => GoldLine.parse(JSON.parse(line)))
    expect(gold.length).toBe(8)
    for (const { key, width, height } of gold) {
      const bytes = readFileSync(new URL(`../../examples/${key}`, import.meta.url))
      expect(bytes.length).toBeLessThan(60_000)
      const decoded = await decodeImage(bytes)
      expect(decoded.ok && [decoded.image.width, decoded.image.height]).toEqual([width, height])
    }
    const manifest = read('examples/manifest.jsonl').trim().split('\n')
    expect(manifest.map((line) => JSON.parse(line).image)).toEqual(gold.map(({ key }) => key))
  })
})

it('has an icon of every concept in every style', async () => {
  const all = await loadIcons(world, [...styles, ...world.styles.heldOut])
  for (const style of [...styles, ...world.styles.heldOut]) {
    for (const concept of world.concepts) expect(all.aspectOf(style, concept)).toBeGreaterThan(0)
  }
})

/** The box of pixels that are not the colour of the top left or top right corner. */
function boxOfDifference(rgb: Uint8Array, { width, height }: { width: number; height: number }): PixelBox {
  const colour = commonColour(rgb)
  let [x0, y0, x1, y1] = [width, height, 0, 0]
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const difference = [0, 1, 2].reduce((sum, at) => sum + Math.abs(rgb[pixel * 3 + at]! - colour[at]!), 0)
    if (difference <= 20) continue
    const [x, y] = [pixel % width, Math.floor(pixel / width)]
    ;[x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x + 1), Math.max(y1, y + 1)]
  }
  return [x0, y0, x1, y1]
}

/** An object takes at most a quarter of the picture, so the background's colour is the most frequent one. */
function commonColour(rgb: Uint8Array): [number, number, number] {
  const counts = new Map<number, number>()
  for (let at = 0; at < rgb.length; at += 3) {
    const code = (rgb[at]! << 16) | (rgb[at + 1]! << 8) | rgb[at + 2]!
    counts.set(code, (counts.get(code) ?? 0) + 1)
  }
  const code = [...counts].toSorted((a, b) => b[1] - a[1])[0]![0]
  return [code >> 16, (code >> 8) & 255, code & 255]
}
