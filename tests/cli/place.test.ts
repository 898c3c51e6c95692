// Places: folders and buckets by URI, and what their messages say when they are none.
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { openPlaceOf } from '../../cli/place.ts'
import { listRuns, openPlace } from '../../dataset/place.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { deploymentKey } from '../../schemas/deployment.ts'
import { UserError } from '../../schemas/errors.ts'
import { openEmulatedTestPlace, testPlaces } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const bytes = Buffer.from('bytes')

describe.each(testPlaces)('%s', (_name, open) => {
  test('has queues and stores that stand beside each other', async () => {
    const { place } = await open()
    await place.imagesOf('images').putIfAbsent('a/b.png', bytes)
    await place.runStoreOf('run-1').putIfAbsent('config.json', bytes)
    await place.weights.putIfAbsent('digest/file', bytes)
    expect(await place.labels.head('runs/run-1/config.json')).not.toBeNull()
    expect(place.uploadBucket).toBe('images')
    await place.queueOf('run-1').send(['one'])
    const [message] = await place.queue.receive({ max: 1, waitMs: 0, leaseMs: 0 })
    expect(message?.body).toBe('one')
    expect(await place.deadLetters.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
  })

  test('lists its runs, each once, however many objects they have', async () => {
    const { place } = await open()
    for (const runId of ['run-2', 'run-1', 'run-10'])
      for (const key of ['config.json', 'parts/1', 'parts/\u{10fffe}'])
        await place.runStoreOf(runId).putIfAbsent(key, bytes)
    const runs: string[] = []
    for await (const runId of listRuns(place)) runs.push(runId)
    expect(runs).toEqual(['run-1', 'run-10', 'run-2'])
  })

  test('never lets a name lead elsewhere', async () => {
    const { place } = await open()
    for (const name of ['..', '../images', '/etc', 'a/b', '', '.', 'a\0b']) {
      expect(() => place.imagesOf(name), name).toThrow(UserError)
      expect(() => place.runStoreOf(name), name).toThrow(UserError)
    }
  })
})

test('takes a folder by path, by file: URI and from the environment', async () => {
  const folder = await tempFolder()
  const uri = `${pathToFileURL(folder).href}/`
  for (const place of [
    await openPlaceOf({ place: folder }, {}),
    await openPlaceOf({ place: uri }, { COGLABEL_PLACE: '/elsewhere' }),
    await openPlaceOf({}, { COGLABEL_PLACE: folder }),
  ])
    expect(place.uri).toBe(uri)
})

test("reads a link that is a bucket of the folder's owner, and no link inside one", async () => {
  const folder = await tempFolder()
  await mkdir(join(folder, 'photos'))
  await mkdir(join(folder, 'place/buckets'), { recursive: true })
  await writeFile(join(folder, 'photos/a.png'), 'bytes')
  await writeFile(join(folder, 'secret'), 'bytes')
  await symlink(join(folder, 'photos'), join(folder, 'place/buckets/photos'))
  await symlink(join(folder, 'secret'), join(folder, 'photos/link.png'))
  const store = (await openPlace(join(folder, 'place'))).imagesOf('photos')
  expect(await store.get('a.png')).not.toBeNull()
  expect(await store.get('link.png')).toBeNull()
})

test.each([
  [{}, {}, /which place/],
  [{ place: 'gs://bucket' }, {}, /neither a folder nor s3/],
  [{ place: 's3://bucket/runs' }, {}, /not a whole bucket/],
  [{ place: 's3://' }, {}, /not a whole bucket/],
  [{ place: 'file://host/path' }, {}, /no file: URI of this machine/],
])('says what is wrong with %j', async (flags, environment, message) => {
  await expect(openPlaceOf(flags, environment)).rejects.toThrow(message)
})

test('says what is wrong with a bucket that is no deployment', async () => {
  const { emulator, flags } = await openEmulatedTestPlace()
  const endpoint = emulator!.endpoint
  const at = { 'aws-endpoint': endpoint }
  await expect(openPlaceOf({ place: 's3://images', ...at })).rejects.toThrow(
    /there is no s3:\/\/images\/_dep/,
  )
  await expect(openPlaceOf({ place: 's3://missing', ...at })).rejects.toThrow(/bucket does not exist/)
  const images = openS3Store({ bucket: 'images', endpoint, forcePathStyle: true })
  await images.putIfAbsent(deploymentKey, Buffer.from('{"v":1}'))
  await expect(openPlaceOf({ place: 's3://images', ...at })).rejects.toThrow(/not a deployment/)
  const others = openS3Store({ bucket: 'others', endpoint, forcePathStyle: true })
  const labels = openS3Store({ bucket: 'labels', endpoint, forcePathStyle: true })
  await others.putIfAbsent(deploymentKey, (await labels.get(deploymentKey))!)
  await expect(openPlaceOf({ place: 's3://others', ...at })).rejects.toThrow(/give s3:\/\/labels/)
  const place = await openPlaceOf({ place: flags[1], ...at })
  expect(() => place.imagesOf('labels')).toThrow(/"labels" is not one of test: images, others/)
  for (const store of [images, others, labels, place]) store.close()
})
