// Where things stand in a scene: placement as plain data, with the same distribution as training/scenes.py. It draws nothing.
import { InvariantError } from '../../schemas/errors.ts'
import {
  type Background,
  type Concept,
  isHeldOutPair,
  type ScenePattern,
  type World,
} from '../../schemas/world.ts'
import { below, between, pick, type Random } from './random.ts'

/** [x0, y0, x1, y1] in whole pixels; x1 and y1 are one past the last. */
export type PixelBox = readonly [number, number, number, number]

export type PlacedObject = { concept: Concept; style: string; box: PixelBox; isFlipped: boolean }

export type ScenePlan = {
  width: number
  height: number
  background: Background
  pattern: ScenePattern
  objects: PlacedObject[]
}

export type SceneWish = {
  world: World
  width: number
  height: number
  objectCount: number
  styles: readonly string[]
  /** `held-out`: a scene of two kinds or more has a pair of concepts that no training scene has. */
  pairs: 'any' | 'held-out'
  /** Width over height of a concept's drawing in a style. */
  aspectOf: (style: string, concept: Concept) => number
  random: Random
}

/** How often a new object is of a kind that is there already, as in training. */
const repeatShare = 0.3
/** Two objects never have their centres in one cell: the model's patches at 168 pixels. */
const cells = 12
/** No object hides more than this of another. */
const maxHidden = 0.25
/** The drawn outline may fall a pixel short of its place, which moves the overlap a little. */
const overlapSlack = 0.01
const triesPerObject = 8
const maxLayouts = 200

/** A scene with exactly `objectCount` objects. Throws InvariantError when none is found, which six objects never are near. */
export function planScene(wish: SceneWish): ScenePlan {
  const { world, width, height, objectCount, random } = wish
  for (let layout = 0; layout < maxLayouts; layout += 1) {
    const objects = placeObjects(wish)
    if (objects.length < objectCount) continue
    return {
      width,
      height,
      background: pick(random, world.backgrounds),
      pattern: pick(random, world.scene.patterns),
      objects,
    }
  }
  throw new InvariantError(`${objectCount} objects did not fit into ${width} x ${height} pixels`)
}

function placeObjects(wish: SceneWish): PlacedObject[] {
  const objects: PlacedObject[] = []
  for (
    let tries = 0;
    tries < wish.objectCount * triesPerObject && objects.length < wish.objectCount;
    tries += 1
  ) {
    const object = sampleObject(wish, objects)
    if (fits(object, objects, wish)) objects.push(object)
  }
  return objects
}

function sampleObject(wish: SceneWish, others: readonly PlacedObject[]): PlacedObject {
  const { world, width, height, styles, aspectOf, random } = wish
  const isRepeat = others.length > 0 && random() < repeatShare
  const concept = isRepeat ? pick(random, others).concept : pick(random, newConcepts(wish, others))
  const style = pick(random, styles)
  const { min, max } = world.scene.longerSide
  const aspect = aspectOf(style, concept)
  // The side that takes the larger share of the picture takes this share.
  const tall = between(random, min, max) / Math.max(aspect / width, 1 / height)
  const [w, h] = [Math.max(6, Math.round(tall * aspect)), Math.max(6, Math.round(tall))]
  const [x, y] = [below(random, width - w + 1), below(random, height - h + 1)]
  return { concept, style, box: [x, y, x + w, y + h] as const, isFlipped: random() < 0.5 }
}

/** What an object that repeats no other may be: where pairs are held out, the second kind makes one with the first. */
function newConcepts({ world, pairs }: SceneWish, others: readonly PlacedObject[]): readonly Concept[] {
  const kinds = new Set(others.map(({ concept }) => concept))
  const [first] = kinds
  if (pairs === 'any' || first === undefined || kinds.size > 1) return world.concepts
  const at = world.concepts.indexOf(first)
  return world.concepts.filter((_, other) => isHeldOutPair(world, at, other))
}

function fits(
  { box }: PlacedObject,
  others: readonly PlacedObject[],
  { world, width, height }: SceneWish,
): boolean {
  const isInside = box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height
  const cell = cellOf(box, { width, height })
  return (
    isInside &&
    others.every((other) => {
      const { iou, hidden } = overlap(box, other.box)
      return (
        cellOf(other.box, { width, height }) !== cell &&
        iou <= world.scene.maxOverlapIoU - overlapSlack &&
        hidden <= maxHidden
      )
    })
  )
}

function cellOf([x0, y0, x1, y1]: PixelBox, { width, height }: { width: number; height: number }): number {
  const column = Math.floor((((x0 + x1) / 2) * cells) / width)
  const row = Math.floor((((y0 + y1) / 2) * cells) / height)
  return row * cells + column
}

/** Intersection over union, and the larger share of one box that the other covers. */
export function overlap(left: PixelBox, right: PixelBox): { iou: number; hidden: number } {
  const width = Math.min(left[2], right[2]) - Math.max(left[0], right[0])
  const height = Math.min(left[3], right[3]) - Math.max(left[1], right[1])
  if (width <= 0 || height <= 0) return { iou: 0, hidden: 0 }
  const [a, b] = [areaOf(left), areaOf(right)]
  return { iou: (width * height) / (a + b - width * height), hidden: (width * height) / Math.min(a, b) }
}

function areaOf([x0, y0, x1, y1]: PixelBox): number {
  return (x1 - x0) * (y1 - y0)
}
