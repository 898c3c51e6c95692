// Upright RGB to what the vision tower takes, bit for bit as Pillow and torch do it. Pure; it knows no file and no model.
// Source: libImaging/Resample.c of Pillow, 8 bits per channel, BICUBIC, whole image as box.

/** Weights are integers in units of 2^-22: 32 bits less 8 for the pixel and 2 for overshoot (PRECISION_BITS). */
const precisionBits = 22
const half = 1 << (precisionBits - 1)

/** Filter taps of one axis: output i reads `counts[i]` inputs from `starts[i]`, weighted from `weights[i * stride]`. */
type Taps = { starts: Int32Array; counts: Int32Array; weights: Int32Array; stride: number }

/**
 * Squashes [height, width, 3] to [size, size, 3] with antialiased bicubic, ignoring the aspect ratio. First
 * horizontally, rounded to bytes, then vertically; an axis that already has `size` is left alone.
 */
export function resizeBicubic({
  rgb,
  width,
  height,
  size,
}: {
  rgb: Uint8Array
  width: number
  height: number
  size: number
}): Uint8Array {
  const squashed = width === size ? rgb : resizeRows({ rgb, width, height, taps: computeTaps(width, size) })
  if (height === size) return squashed === rgb ? rgb.slice() : squashed
  return resizeColumns({ rgb: squashed, rowBytes: size * 3, taps: computeTaps(height, size) })
}

/**
 * [S, S, 3] bytes to float32 [3, S, S]: (x / 255 - mean) / std per RGB channel, each step rounded to float32 as torch does.
 */
function normalisePixels({
  rgb,
  mean,
  std,
}: {
  rgb: Uint8Array
  mean: readonly number[]
  std: readonly number[]
}): Float32Array {
  const plane = rgb.length / 3
  const pixels = new Float32Array(rgb.length)
  for (let channel = 0; channel < 3; channel++) {
    const table = new Float32Array(256)
    for (let value = 0; value < 256; value++) {
      const centred = Math.fround(Math.fround(value / 255) - Math.fround(mean[channel] ?? 0))
      table[value] = centred / Math.fround(std[channel] ?? 1)
    }
    const offset = channel * plane
    for (let at = 0, from = channel; at < plane; at++, from += 3)
      pixels[offset + at] = table[rgb[from] ?? 0] ?? 0
  }
  return pixels
}

/** Resizes and normalises: [height, width, 3] bytes to float32 [3, size, size]. */
export function preprocess({
  mean,
  std,
  ...image
}: {
  rgb: Uint8Array
  width: number
  height: number
  size: number
  mean: readonly number[]
  std: readonly number[]
}): Float32Array {
  return normalisePixels({ rgb: resizeBicubic(image), mean, std })
}

function computeTaps(inSize: number, outSize: number): Taps {
  const scale = inSize / outSize
  const filterScale = Math.max(scale, 1)
  const support = 2 * filterScale
  const stride = Math.ceil(support) * 2 + 1
  const starts = new Int32Array(outSize)
  const counts = new Int32Array(outSize)
  const weights = new Int32Array(outSize * stride)
  const exact = new Float64Array(stride)
  for (let out = 0; out < outSize; out++) {
    const centre = (out + 0.5) * scale
    const start = Math.max(0, Math.trunc(centre - support + 0.5))
    const count = Math.min(inSize, Math.trunc(centre + support + 0.5)) - start
    let sum = 0
    for (let tap = 0; tap < count; tap++) {
      const weight = keysCubic((start + tap - centre + 0.5) * (1 / filterScale))
      exact[tap] = weight
      sum += weight
    }
    for (let tap = 0; tap < count; tap++) {
      const weight = ((exact[tap] ?? 0) / sum) * (1 << precisionBits)
      weights[out * stride + tap] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5)
    }
    starts[out] = start
    counts[out] = count
  }
  return { starts, counts, weights, stride }
}

/** Keys' cubic convolution kernel with a = -0.5 (Keys 1981), in Pillow's order of operations. */
function keysCubic(distance: number): number {
  const a = -0.5
  const x = Math.abs(distance)
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a
  return 0
}

/** [height, width, 3] to [height, out, 3]. */
function resizeRows({
  rgb,
  width,
  height,
  taps,
}: {
  rgb: Uint8Array
  width: number
  height: number
  taps: Taps
}): Uint8Array {
  const { starts, counts, weights, stride } = taps
  const outSize = starts.length
  // Clamped arrays round halves to even but get integers here, so they only clamp.
  const out = new Uint8ClampedArray(height * outSize * 3)
  let to = 0
  for (let row = 0; row < height; row++) {
    const rowStart = row * width * 3
    for (let column = 0; column < outSize; column++) {
      let red = half
      let green = half
      let blue = half
      let from = rowStart + (starts[column] ?? 0) * 3
      const first = column * stride
      const last = first + (counts[column] ?? 0)
      for (let tap = first; tap < last; tap++, from += 3) {
        const weight = weights[tap] ?? 0
        red = (red + Math.imul(rgb[from] ?? 0, weight)) | 0
        green = (green + Math.imul(rgb[from + 1] ?? 0, weight)) | 0
        blue = (blue + Math.imul(rgb[from + 2] ?? 0, weight)) | 0
      }
      out[to] = red >> precisionBits
      out[to + 1] = green >> precisionBits
      out[to + 2] = blue >> precisionBits
      to += 3
    }
  }
  return new Uint8Array(out.buffer)
}

/** [height, rowBytes] to [out, rowBytes], a whole row at a time so that memory is read in order. */
function resizeColumns({
  rgb,
  rowBytes,
  taps,
}: {
  rgb: Uint8Array
  rowBytes: number
  taps: Taps
}): Uint8Array {
  const { starts, counts, weights, stride } = taps
  const outSize = starts.length
  const out = new Uint8ClampedArray(outSize * rowBytes)
  const sums = new Int32Array(rowBytes)
  for (let row = 0; row < outSize; row++) {
    sums.fill(half)
    for (let tap = 0; tap < (counts[row] ?? 0); tap++) {
      const weight = weights[row * stride + tap] ?? 0
      const from = ((starts[row] ?? 0) + tap) * rowBytes
      for (let at = 0; at < rowBytes; at++) {
        sums[at] = (sums[at] ?? 0) + Math.imul(rgb[from + at] ?? 0, weight)
      }
    }
    const to = row * rowBytes
    for (let at = 0; at < rowBytes; at++) out[to + at] = (sums[at] ?? 0) >> precisionBits
  }
  return new Uint8Array(out.buffer)
}
