// Which image of a run was the first to have some bytes: one create-only object for each sha256 says so, for all workers
// and for as long as the run is there. It does not know records, nor what becomes of a duplicate.
import { InvariantError } from '../schemas/errors.ts'
import { SeenImage, seenImagesPrefix, seenImageVersion } from '../schemas/seen-image.ts'
import { parseJson } from './parse-json.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type NamedImage = Pick<SeenImage, 'bucket' | 'key'>

/** Somebody deletes markers while workers write them; nothing of ours does. */
const maxTries = 3

/**
 * The image that stands for these bytes: the given one, where it is the first or was so before, else the one that was
 * faster. So a message that comes again, whoever died over it, finds its own name and is labelled.
 */
export async function firstWithBytes(
  store: ObjectStore,
  { sha256, image }: { sha256: string; image: NamedImage },
): Promise<NamedImage> {
  const key = `${seenImagesPrefix}${sha256}.json`
  const marker: SeenImage = { v: seenImageVersion, bucket: image.bucket, key: image.key }
  const bytes = Buffer.from(`${JSON.stringify(marker)}\n`)
  for (let tries = 0; tries < maxTries; tries += 1) {
    if ((await store.putIfAbsent(key, bytes)) === 'created') return image
    const found = await store.get(key)
    if (found !== null) return readMarker(found) ?? image
  }
  throw new InvariantError(`${store.uri}${key} is there when it is written and gone when it is read`)
}

/** One that cannot be read says nothing: a second labelling is cheaper than a run that stands still. */
function readMarker(bytes: Uint8Array): NamedImage | null {
  return SeenImage.safeParse(parseJson(bytes)).data ?? null
}
