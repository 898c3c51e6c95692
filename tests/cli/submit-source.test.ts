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
  const folder = await tempFolder()
  await mkdir(join(folder, 'buckets', 'photos'), { recursive: true })
  const place = await openPlace(folder)
  const { source } = await openSubmitSource(`s3://photos/${key}`, place)
  expect(source).toMatchObject({ kind: 'bucket', bucket: 'photos', prefix })
})
