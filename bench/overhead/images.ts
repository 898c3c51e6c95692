// Any number of images of about 10 kB in a folder, quickly: a hundred different files and hard links to them.
import { link, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { numberedPhoto } from '../../tests/helpers/photos.ts'

const differentFiles = 100

/** Keys below `prefix`, a thousand to a folder. */
export function photoKeys(count: number, prefix: string): string[] {
  return Array.from({ length: count }, (_, n) => {
    return `${prefix}${String(Math.floor(n / 1000)).padStart(3, '0')}/${String(n).padStart(6, '0')}.jpg`
  })
}

/** The bytes of the photos, in the order of their keys; they repeat after a hundred. */
export async function makePhotos(count: number): Promise<Buffer[]> {
  const photos: Buffer[] = []
  for (let n = 0; n < Math.min(count, differentFiles); n += 1) photos.push(await numberedPhoto(n))
  return photos
}

/** Writes photos as files under their keys. */
export async function writePhotos(folder: string, keys: readonly string[]): Promise<void> {
  const photos = await makePhotos(keys.length)
  for (const [n, key] of keys.entries()) {
    const path = join(folder, key)
    if (n % 1000 === 0) await mkdir(dirname(path), { recursive: true })
    const photo = photos[n]
    if (photo === undefined) await link(join(folder, keys[n % differentFiles] ?? ''), path)
    else await writeFile(path, photo)
  }
}
