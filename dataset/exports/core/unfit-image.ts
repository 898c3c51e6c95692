// What is thrown where one image cannot be in an export that others can be in. It does not know why.

/** The message goes on after "1 image". Caught where the image is written: it is left out, counted and listed. */
export class UnfitImage extends Error {
  override readonly name = 'UnfitImage'
}
