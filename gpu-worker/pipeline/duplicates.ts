// Images that a source has more than once, found before anything is spent on them: by their bytes, or by their looks. It
// does not know models or records.
import type { ImageSource } from '../../dataset/ingest.ts'
import type { DedupeKind } from '../../schemas/input-rules.ts'
import type { DecodeLimits } from '../image/decode.ts'
import { printDistance, quartersOf } from '../image/likeness.ts'
import { decodeHere, type ImageDecoder } from '../image/prepare.ts'
import { fetchImage } from './fetch.ts'

export type Duplicate = {
  /** Key of the one that is labelled for both: the first of a folder, and of a run of many workers whichever came first. */
  of: string
  kind: DedupeKind
  /** Where that is, when it is another bucket than the image's own. */
  bucket?: string
}

/**
 * Mean difference of colours, in levels of 255. Measured: a picture saved again at quality 20 to 50 or at a third of its
 * size differs by 0.5 to 2.7, brightened by a twentieth by 7, mirrored or cropped by 9 and more.
 */
const maxDistance = 3
/** Pictures of the same shape, to two parts in a hundred. */
const maxShape = 0.02

type Options = {
  kind: DedupeKind
  limits: DecodeLimits
  /** Reads images; this process itself when left out. */
  decoder?: ImageDecoder
  maxImages?: number | undefined
  signal: AbortSignal
  onImage?: (seen: number) => void
}

/**
 * Every image that repeats an earlier one of the source, by key. Reads all of them, and decodes them when looks count;
 * one that cannot be read or decoded repeats nothing. Holds about 500 bytes for each.
 */
export async function findDuplicates(source: ImageSource, options: Options): Promise<Map<string, Duplicate>> {
  const { kind, limits, decoder = decodeHere, maxImages = Infinity, signal, onImage = () => {} } = options
  const [bySha, looks] = [new Map<string, string>(), new LooksIndex()]
  const found = new Map<string, Duplicate>()
  let seen = 0
  for await (const { key } of source.items()) {
    if (seen >= maxImages || signal.aborted) break
    seen += 1
    const fetched = await fetchImage(source.store, { key, maxBytes: limits.maxBytes })
    if (fetched.ok && 'sha256' in fetched.identity) {
      const { sha256 } = fetched.identity
      const same = bySha.get(sha256)
      bySha.set(sha256, same ?? key)
      if (same !== undefined && same !== key) found.set(key, { of: same, kind: 'exact' })
      else if (kind === 'near') {
        const near = await nearOf(key, { bytes: fetched.bytes, limits, decoder, looks })
        if (near !== null) found.set(key, { of: near, kind })
      }
    }
    onImage(seen)
  }
  return found
}

type NearWanted = { bytes: Buffer; limits: DecodeLimits; decoder: ImageDecoder; looks: LooksIndex }

async function nearOf(key: string, { bytes, limits, decoder, looks }: NearWanted): Promise<string | null> {
  const result = await decoder.prepare(bytes, { limits, hasThumbprint: true })
  if (!result.ok || result.prepared.thumbprint === null) return null
  const { image, thumbprint: print } = result.prepared
  return looks.meet({ key, shape: image.width / image.height, print })
}

type Look = { key: string; shape: number; print: Uint8Array }

/** Mean brightness of a quarter of the picture, in steps so wide; a picture saved again moves by less than the margin. */
const step = 8
const margin = 2

/** A class, because it holds what was seen. */
class LooksIndex {
  readonly #byQuarters = new Map<string, Look[]>()

  /** The first that looks alike, or null; remembers one that is new. */
  meet(look: Look): string | null {
    const quarters = quartersOf(look.print)
    for (const place of placesNear(quarters)) {
      const near = this.#byQuarters.get(place)?.find((other) => isAlike(other, look))
      if (near !== undefined) return near.key
    }
    const own = quarters.map((value) => Math.floor(value / step)).join(' ')
    const held = this.#byQuarters.get(own)
    if (held === undefined) this.#byQuarters.set(own, [look])
    else held.push(look)
    return null
  }
}

function isAlike(left: Look, right: Look): boolean {
  if (Math.abs(left.shape / right.shape - 1) > maxShape) return false
  return printDistance(left.print, right.print, maxDistance) <= maxDistance
}

/** The steps that the quarters of a like picture may fall on: two of each value that is near the edge of its own. */
function placesNear(quarters: readonly number[]): string[] {
  return quarters
    .map((value) => [
      ...new Set([value, value - margin, value + margin].map((near) => Math.floor(near / step))),
    ])
    .reduce<string[]>(
      (places, cells) =>
        places.flatMap((place) => cells.map((cell) => (place === '' ? String(cell) : `${place} ${cell}`))),
      [''],
    )
}
