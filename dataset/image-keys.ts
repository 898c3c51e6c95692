// Which keys of a source are images, by their names alone. It reads nothing.
import { posix } from 'node:path'
import { keyProblem } from './stores/object-store.ts'

/** Why a file of the source is no work; each is counted and told. */
export type SkipReason =
  | 'hidden'
  | 'not an image by its extension'
  | 'symbolic link'
  | 'unusable name'
  | 'named twice'
  | 'folder that may not be listed'

/** Extensions of image formats, also of some we cannot decode: those become failed records, not silence. */
const imageExtensions = new Set(
  [
    'jpg',
    'jpeg',
    'jpe',
    'jfif',
    'png',
    'webp',
    'gif',
    'tif',
    'tiff',
    'avif',
    'bmp',
    'heic',
    'heif',
    'jp2',
    'jxl',
    'ppm',
  ].map((extension) => `.${extension}`),
)

/** Why a key is no image that can be labelled, by its name alone; null when it is one. */
export function skipReason(key: string): SkipReason | null {
  if (key.split('/').some((segment) => /^\.(?!\.?$)/.test(segment))) return 'hidden'
  if (!hasImageExtension(key)) return 'not an image by its extension'
  // U+FFFD is what Node reads for bytes that are not UTF-8; such a name leads nowhere.
  return keyProblem(key) !== null || key.includes('\u{fffd}') ? 'unusable name' : null
}

export function hasImageExtension(key: string): boolean {
  return imageExtensions.has(posix.extname(key).toLowerCase())
}
