// What `submit` makes of a SRC that lies in a bucket of the place.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openSubmitSource } from '../../cli/submit-source.ts'
import { openPlace } from '../../dataset/place.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

test.each([
  ['p', 'p/'],
  ['p/', 'p/'],
  // Else v1.100/ would be labelled too.
  ['v1.10', 'v1.10/'],
  ['photos.2024', 'photos.2024/'],
  ['p/a.PNG', 'p/a.PNG'],
  ['p/b.heic', 'p/b.heic'],
  ['', ''],
])('takes %j of a bucket for the prefix %j', async (key, prefix) => {
  const { source } = await submitted(key)
  expect(source).toMatchObject({ kind: 'bucket', bucket: 'photos', prefix })
})

test.each(['p/List.JSONL', 'p/list.csv.GZ', 'p/Manifest.json'])(
  'refuses %j: only what ends in small letters may be read as a list',
  async (key) => {
    await expect(submitted(key)).rejects.toThrow(
      /ends as a list does, but not in small letters, .*; copy it to (list|manifest)\.[a-z.]+$/,
    )
  },
)

async function submitted(key: string) {
  const folder = await tempFolder()
  await mkdir(join(folder, 'buckets', 'photos'), { recursive: true })
  return await openSubmitSource(`s3://photos/${key}`, await openPlace(folder))
}
