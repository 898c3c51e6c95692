// Stands in for gpu-worker/image/decode.ts when the pipeline is measured without its pixel work. It looks at no byte.
import type { DecodeResult } from '../../gpu-worker/image/decode.ts'

export { configureDecoder, defaultDecodeLimits } from '../../gpu-worker/image/decode.ts'

const side = 16

/** A grey image of 16 x 16 pixels, whatever the bytes are. */
export async function decodeImage(): Promise<DecodeResult> {
  const size = { width: side, height: side, storedWidth: side, storedHeight: side }
  const rgb = new Uint8Array(3 * side * side).fill(127)
  return { ok: true, image: { rgb, ...size, orientation: 1, mime: 'image/jpeg', format: 'jpeg' } }
}
