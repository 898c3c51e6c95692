// Images that are not worth asking about, by their own looks. Pure; it does not know files or records.
import type { InputRules } from '../../schemas/input-rules.ts'
import type { RecordCheck } from '../../schemas/label-record.ts'

type Pixels = { rgb: Uint8Array; width: number; height: number }

/** Brightness of a blank page moves by hardly a level, however it was compressed. */
const blankDeviation = 1.5
/** Pixels that are looked at. */
const maxSampled = 20_000

/** The rule that turns an image down, as a check that does not pass; null for an image that may be asked about. */
export function turnDown(rules: InputRules, pixels: Pixels): RecordCheck | null {
  const { width, height } = pixels
  const [short, long] = [Math.min(width, height), Math.max(width, height)]
  const { minSide, maxAspect, blank } = rules
  if (minSide !== undefined && short < minSide)
    return {
      name: 'image-side',
      pass: false,
      score: short,
      evidence: `${width} x ${height} pixels; at least ${minSide} wanted`,
    }
  const aspect = Math.round((long / short) * 100) / 100
  if (maxAspect !== undefined && aspect > maxAspect)
    return {
      name: 'image-aspect',
      pass: false,
      score: aspect,
      evidence: `${width} x ${height} pixels; at most ${maxAspect} to 1 wanted`,
    }
  if (blank !== true) return null
  const deviation = deviationOf(pixels)
  if (deviation >= blankDeviation) return null
  return { name: 'image-blank', pass: false, score: deviation, evidence: 'hardly more than one colour' }
}

/** Mean distance of a sample of pixels from their mean, of the channel that moves most. */
function deviationOf({ rgb, width, height }: Pixels): number {
  const step = Math.max(1, Math.floor((width * height) / maxSampled))
  const deviations = [0, 1, 2].map((channel) => {
    const values: number[] = []
    for (let at = 0; at < width * height; at += step) values.push(rgb[at * 3 + channel] ?? 0)
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    return values.reduce((sum, value) => sum + Math.abs(value - mean), 0) / values.length
  })
  return Math.round(Math.max(...deviations) * 100) / 100
}
