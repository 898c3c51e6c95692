// One scene from a seed and a number: its plan, its pixels and its gold line. It knows no files.
import { GoldLine } from '../../schemas/gold.ts'
import type { Box } from '../../schemas/task-output.ts'
import type { World } from '../../schemas/world.ts'
import { type PixelBox, planScene } from './layout.ts'
import { askAboutScene } from './questions.ts'
import { createRandom } from './random.ts'
import { type Icons, type RenderedScene, renderScene } from './render.ts'

export type SceneOptions = {
  world: World
  icons: Icons
  styles: readonly string[]
  seed: number
  /** Which scene of the seed's endless series. */
  index: number
  objectCount: number
  /** `held-out`: with a pair of concepts that no training scene has; any when left out. */
  pairs?: 'any' | 'held-out'
  width: number
  height: number
  /** The image's key in its gold line. */
  key: string
}

export type GeneratedScene = { image: RenderedScene; gold: GoldLine }

/** The same options give the same scene on any machine. */
export async function generateScene(options: SceneOptions): Promise<GeneratedScene> {
  const { world, icons, styles, seed, index, objectCount, pairs = 'any', width, height, key } = options
  // Three streams: a change of the questions leaves the picture as it is.
  const stream = (part: string) => createRandom(`coglabel scene ${seed} ${index} ${part}`)
  const { aspectOf } = icons
  const plan = planScene({
    world,
    width,
    height,
    objectCount,
    pairs,
    styles,
    aspectOf,
    random: stream('layout'),
  })
  const image = await renderScene(plan, { icons, random: stream('pixels') })
  const objects = plan.objects.map(({ concept }, at) => ({
    concept,
    box: toFractions(image.boxes[at] ?? [0, 0, 0, 0], { width, height }),
  }))
  const facts = { objects, background: plan.background.name }
  const gold = GoldLine.parse({
    key,
    width,
    height,
    objects: objects.map(({ concept, box }) => ({
      name: concept.name,
      box,
      ...(concept.colour === undefined ? {} : { colour: concept.colour }),
    })),
    questions: askAboutScene(facts, { world, random: stream('words') }),
  })
  return { image, gold }
}

function toFractions([x0, y0, x1, y1]: PixelBox, { width, height }: { width: number; height: number }): Box {
  return [x0 / width, y0 / height, x1 / width, y1 / height]
}
