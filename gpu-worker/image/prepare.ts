// One image file to all that a run takes from its pixels, so that the pixels themselves need not travel. It does not know
// processes, models or tasks.
import type { Failure } from '../../schemas/failure.ts'
import type { InputRules } from '../../schemas/input-rules.ts'
import type { RecordCheck } from '../../schemas/label-record.ts'
import { decodeImage, type DecodedImage, type DecodeLimits } from './decode.ts'
import { encodePicture, type EncodedPicture, type PictureLimits } from './encode.ts'
import { turnDown } from './input-rules.ts'
import { thumbprint } from './likeness.ts'
import { perceptualHash } from './perceptual-hash.ts'
import { preprocess } from './preprocess.ts'
import { makeThumbnail } from './thumbnail.ts'

export type WantedImage = {
  limits: DecodeLimits
  /** One that these turn down is not shown to a model. */
  rules?: InputRules | undefined
  /** As the model takes it: a tensor, or a file within limits; nothing is made when left out. */
  form?: { kind: 'pixels'; size: number; mean: readonly number[]; std: readonly number[] } | PictureForm
  hasThumbnail?: boolean
  hasThumbprint?: boolean
}

type PictureForm = PictureLimits & { kind: 'picture' }

export type PreparedImage = {
  image: Omit<DecodedImage, 'rgb'>
  perceptualHash: string
  /** The rule that turns it down. */
  turnedDown: RecordCheck | null
  shown: Float32Array | EncodedPicture | null
  /** WebP. */
  thumbnail: Uint8Array | null
  thumbprint: Uint8Array | null
}

export type PrepareResult = { ok: true; prepared: PreparedImage } | { ok: false; failure: Failure }

/** What prepares images, wherever it does so. */
export type ImageDecoder = {
  /** Never throws for what an image holds. Rejects with the signal's reason when it fires. */
  prepare(bytes: Buffer, wanted: WantedImage, signal?: AbortSignal): Promise<PrepareResult>
  close(): Promise<void>
}

/** In this process: what breaks the native decoder breaks the process. */
export const decodeHere: ImageDecoder = {
  async prepare(bytes, wanted, signal) {
    signal?.throwIfAborted()
    return await prepareImage(bytes, wanted)
  },
  async close() {},
}

/** Decodes an image and makes of it what is wanted. */
export async function prepareImage(bytes: Buffer, wanted: WantedImage): Promise<PrepareResult> {
  const { limits, rules = {}, form, hasThumbnail = false, hasThumbprint = false } = wanted
  const result = await decodeImage(bytes, limits)
  if (!result.ok) return result
  const { rgb, ...image } = result.image
  const upright = { rgb, width: image.width, height: image.height }
  const turnedDown = turnDown(rules, upright)
  const isShown = turnedDown === null && form !== undefined
  return {
    ok: true,
    prepared: {
      image,
      perceptualHash: perceptualHash(upright),
      turnedDown,
      shown: isShown ? await show(upright, form) : null,
      // Where there is no memory for a small picture, the label stands without.
      thumbnail: hasThumbnail && turnedDown === null ? await makeThumbnail(upright).catch(() => null) : null,
      thumbprint: hasThumbprint ? thumbprint(upright) : null,
    },
  }
}

async function show(
  upright: { rgb: Uint8Array; width: number; height: number },
  form: NonNullable<WantedImage['form']>,
): Promise<Float32Array | EncodedPicture> {
  return form.kind === 'pixels'
    ? preprocess({ ...upright, ...form })
    : await encodePicture({ ...upright, ...form })
}
