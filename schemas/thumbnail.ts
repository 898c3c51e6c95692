// Where an image's thumbnail lies in its run. It does not know pixels.

export const thumbnailsPrefix = 'thumbs/'

/** Of both sides the longer. */
export const thumbnailPixels = 320

/** Named by the image's own bytes, so that one picture serves every record of them. */
export function thumbnailKey(sha256: string): string {
  return `${thumbnailsPrefix}${sha256.slice(0, 2)}/${sha256}.webp`
}
