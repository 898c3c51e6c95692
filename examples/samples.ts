// Which scenes are the sample images, and how each is stored. Data only.
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
}

/** Things are drawn from the first of the world's, so that the images stay as they are when the world grows. */
export const conceptsDrawn = 64

export const samples: readonly Sample[] = [
  { seed: 2007, objectCount: 1, width: 448, height: 448, format: 'jpeg', note: 'a square JPEG' },
  {
    seed: 2103,
    objectCount: 2,
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
    seed: 5118,
    objectCount: 3,
    width: 560,
    height: 420,
    format: 'png',
    note: 'a PNG of odd size',
    isPictured: true,
  },
  {
    seed: 7022,
    objectCount: 4,
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
