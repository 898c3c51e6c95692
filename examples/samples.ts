// Which scenes are the sample images, what each is drawn from and how it is stored.
import type { World } from '../schemas/world.ts'
import type { ImageFormat } from './scenes/render.ts'

export type Sample = {
  seed: number
  objectCount: number
  width: number
  height: number
  format: ImageFormat
  orientation?: 6
  /** What is special about the file. */
  note: string
  /** Whether labelled.png shows it. */
  isPictured?: true
  /** How many of the world's concepts it is drawn from, the first 64 unless said: it stays as it is when the world grows. */
  conceptsDrawn?: number
}

export function worldOf({ conceptsDrawn = 64 }: Sample, world: World): World {
  return { ...world, concepts: world.concepts.slice(0, conceptsDrawn) }
}

export const samples: readonly Sample[] = [
  { seed: 2007, objectCount: 1, width: 448, height: 448, format: 'jpeg', note: 'a square JPEG' },
  {
    seed: 2102,
    objectCount: 4,
    conceptsDrawn: 160,
    width: 640,
    height: 480,
    format: 'png',
    note: 'a PNG, 4 to 3',
    isPictured: true,
  },
  { seed: 4010, objectCount: 2, width: 480, height: 640, format: 'webp', note: 'a WebP, upright format' },
  {
    seed: 4012,
    objectCount: 3,
    width: 800,
    height: 600,
    format: 'jpeg',
    note: 'the largest, a JPEG',
    isPictured: true,
  },
  {
    seed: 5101,
    objectCount: 5,
    conceptsDrawn: 160,
    width: 560,
    height: 420,
    format: 'png',
    note: 'a PNG of odd size',
    isPictured: true,
  },
  {
    seed: 6104,
    objectCount: 6,
    conceptsDrawn: 160,
    width: 640,
    height: 480,
    format: 'webp',
    note: 'many things, a WebP',
  },
  {
    seed: 7103,
    objectCount: 2,
    width: 640,
    height: 480,
    format: 'jpeg',
    orientation: 6,
    note: 'stored lying on its side with EXIF orientation 6, as phones do; labels are for the upright image',
    isPictured: true,
  },
  { seed: 9000, objectCount: 1, width: 160, height: 128, format: 'png', note: 'a very small PNG' },
]
