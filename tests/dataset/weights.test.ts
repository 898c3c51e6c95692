// Models on their way up and down, over every store: whole, resumed, damaged, doubled, and on a disk that is full.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaultFetchLimits, fetchWeights } from '../../dataset/fetch-weights.ts'
import { pushModel } from '../../dataset/push-weights.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { weightsLockKey } from '../../schemas/weights-lock.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import { expectSameModel, writeCompiledFolder } from '../helpers/compiled-folder.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const sizes = { 'vision.onnx': 10, 'decoder.onnx': 1000, 'decoder.weights': 54_321, 'empty.txt': 0 }
const pushLimits = { pieceBytes: 10_000, piecesInFlight: 3 }
const fetchLimits = { ...defaultFetchLimits, rangeBytes: 3000, rangesInFlight: 4 }
const childPath = new URL('../helpers/fetch-child.ts', import.meta.url).pathname

/** What holds models, and a view of one of them as a worker opens it. */
type Weights = { store: ObjectStore; at: (prefix: string) => ObjectStore }

const places: Record<string, () => Promise<Weights>> = {
  async folder() {
    const folder = await tempFolder()
    return { store: openFsStore(folder), at: (prefix) => openFsStore(join(folder, prefix)) }
  },
  async memory() {
    const store = openMemoryStore('weights')
    return { store, at: (prefix) => below(store, prefix) }
  },
  async s3() {
    const emulator = await startEmulator()
    const { endpoint, region, credentials } = emulator
    const options = { bucket: 'weights', endpoint, region, credentials, forcePathStyle: true }
    const client = new S3Client(options)
    await client.send(new CreateBucketCommand({ Bucket: 'weights' }))
    onTestFinished(async () => {
      client.destroy()
      await emulator.close()
    })
    return {
      store: openS3Store({ ...options, prefix: 'weights/' }),
      at: (prefix) => openS3Store({ ...options, prefix: `weights/${prefix}` }),
    }
  },
}

function below(store: ObjectStore, prefix: string): ObjectStore {
  return {
    ...store,
    uri: store.uri + prefix,
    get: async (key) => await store.get(prefix + key),
    getRange: async (key, range) => await store.getRange(prefix + key, range),
  }
}

/** A model in a folder, pushed. */
async function pushed(open = places['folder']!) {
  const [folder, scratchFolder] = [await tempFolder(), await tempFolder()]
  const manifest = await writeCompiledFolder(folder, sizes)
  const { store, at } = await open()
  const push = async (into = store) => await pushModel({ folder, manifest, store: into, limits: pushLimits })
  const { uri, sentBytes } = await push()
  const from = at(`${manifest.digest}/`)
  const fetch = async (source: ObjectStore = from) =>
    await fetchWeights({ store: source, scratchFolder, limits: fetchLimits })
  const totalBytes = 55_331 + (await stat(join(folder, 'manifest.json'))).size
  return { folder, scratchFolder, manifest, store, from, push, fetch, uri, sentBytes, totalBytes }
}

/** Counts the bytes that are read in ranges. */
function counted(store: ObjectStore) {
  const counts = { bytes: 0, most: 0, now: 0 }
  const getRange: ObjectStore['getRange'] = async (key, range) => {
    counts.now += 1
    counts.most = Math.max(counts.most, counts.now)
    const bytes = await store.getRange(key, range)
    counts.now -= 1
    counts.bytes += bytes?.length ?? 0
    return bytes
  }
  return { counts, store: { ...store, getRange } }
}

describe.each(Object.keys(places))('a model in %s', (name) => {
  test('goes up in pieces and comes down the same, in parallel ranges', async () => {
    const { folder, from, fetch, manifest, store, uri, sentBytes, totalBytes } = await pushed(places[name])
    expect(uri).toBe(`${store.uri}${manifest.digest}/`)
    expect(sentBytes).toBe(totalBytes)
    const { counts, store: source } = counted(from)
    const fetched = await fetch(source)
    expect(fetched.fetchedBytes).toBe(totalBytes)
    expect(counts).toMatchObject({ bytes: totalBytes, most: 4 })
    await expectSameModel(fetched.folder, folder)
    expect(await fetch(source)).toEqual({ folder: fetched.folder, fetchedBytes: 0 })
    expect(counts.bytes).toBe(totalBytes)
  })

  test('is pushed once, and a push that broke off goes on where it was', async () => {
    const folder = await tempFolder()
    const manifest = await writeCompiledFolder(folder, sizes)
    const { store, at } = await places[name]!()
    let puts = 0
    const breaking: ObjectStore = {
      ...store,
      async putIfAbsent(key, bytes) {
        puts += 1
        if (puts > 4) throw new RetryableError('the line was cut', { cause: null })
        return await store.putIfAbsent(key, bytes)
      },
    }
    const push = async (into: ObjectStore) =>
      await pushModel({ folder, manifest, store: into, limits: pushLimits })
    await expect(push(breaking)).rejects.toThrow(RetryableError)
    const from = at(`${manifest.digest}/`)
    await expect(fetchWeights({ store: from, scratchFolder: folder })).rejects.toThrow(
      /its push has not ended/,
    )
    const { sentBytes } = await push(store)
    // Four pieces were there: the two small files, and two of the large one.
    expect(sentBytes).toBe(54_321 - 20_000 + (await stat(join(folder, 'manifest.json'))).size)
    expect((await push(store)).sentBytes).toBe(0)
    const fetched = await fetchWeights({ store: from, scratchFolder: await tempFolder() })
    await expectSameModel(fetched.folder, folder)
  })
})

test('a damaged file is not pushed, and another manifest of the same files is refused', async () => {
  const { folder, store, push, manifest } = await pushed()
  const other = { ...manifest, capabilities: ['qa'] }
  const elsewhere = await tempFolder()
  await writeCompiledFolder(elsewhere, sizes)
  await writeFile(join(elsewhere, 'manifest.json'), JSON.stringify(other))
  await expect(pushModel({ folder: elsewhere, manifest: other, store })).rejects.toThrow(
    /another manifest.json/,
  )
  await writeFile(join(folder, 'decoder.onnx'), new Uint8Array(1000))
  const empty = openMemoryStore()
  await expect(push(empty)).rejects.toThrow(/decoder.onnx has 1000 bytes and the digest/)
  expect((await empty.list({ prefix: '' })).objects).toEqual([])
})

test('many processes may push and fetch at once', async () => {
  const { folder, push, fetch, scratchFolder } = await pushed()
  const fresh = openMemoryStore()
  const pushes = await Promise.all(Array.from({ length: 4 }, async () => await push(fresh)))
  expect(new Set(pushes.map(({ uri }) => uri)).size).toBe(1)
  const fetches = await Promise.all(Array.from({ length: 4 }, async () => await fetch()))
  for (const fetched of fetches) await expectSameModel(fetched.folder, folder)
  expect(await readdir(scratchFolder)).toHaveLength(1)
  expect(await readdir(join(fetches[0]!.folder, '.fetching'))).toEqual([])
})

/** Replaces an object of a folder store. */
async function damage({ store }: { store: ObjectStore }, pattern: RegExp, bytes: Uint8Array | null) {
  for await (const { key } of listAll(store, { prefix: '' })) {
    if (!pattern.test(key)) continue
    const path = new URL(store.uri + key)
    if (bytes === null) await rm(path)
    else await writeFile(path, bytes)
    return
  }
  throw new Error(`no object is like ${pattern.source}`)
}

type Damage = [string, { pattern: RegExp; bytes: Uint8Array | null; sentence: RegExp }]

const damages: Damage[] = [
  [
    'a byte differs',
    {
      pattern: /weights\/00003$/,
      bytes: new Uint8Array(10_000),
      sentence: /came with the digest .* push the/,
    },
  ],
  [
    'a piece is short',
    { pattern: /weights\/00003$/, bytes: new Uint8Array(7), sentence: /00003 of file:.* is too short/ },
  ],
  ['a piece is gone', { pattern: /weights\/00000$/, bytes: null, sentence: /00000 of file:.* is missing/ }],
  ['there is no lock file', { pattern: /lock.json$/, bytes: null, sentence: /run `coglabel push-model`/ }],
  [
    'the lock file is of the future',
    { pattern: /lock.json$/, bytes: Buffer.from('{"v":2}'), sentence: /no lock file of version 1/ },
  ],
  [
    'the lock file is torn',
    { pattern: /lock.json$/, bytes: Buffer.from('{"v":1,'), sentence: /no lock file of version 1/ },
  ],
]

test.each(damages)('says what is wrong when %s, and keeps no such file', async (_name, damaged) => {
  const { pattern, bytes, sentence } = damaged
  const world = await pushed()
  await damage(world, pattern, bytes)
  const failure = await world.fetch().catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(UserError)
  expect((failure as UserError).message).toMatch(sentence)
  const [folder] = await readdir(world.scratchFolder)
  const files = folder === undefined ? [] : await readdir(join(world.scratchFolder, folder))
  expect(files).not.toContain('decoder.weights')
  expect(files).not.toContain('.complete')
})

test('a name that leads out of the scratch folder is refused', async () => {
  const world = await pushed()
  const lock = await readFile(new URL(world.from.uri + weightsLockKey), 'utf8')
  for (const name of ['../../evil', '/etc/evil', '.complete', 'a/b', 'x'.repeat(5000)]) {
    const hostile = lock.replace('"decoder.onnx"', JSON.stringify(name))
    await damage(world, /lock.json$/, Buffer.from(hostile))
    await expect(world.fetch(), name).rejects.toThrow(/no lock file/)
  }
  expect(await readdir(world.scratchFolder)).toEqual([])
})

test('a file that was damaged on this disk is fetched again when the fetch had not ended', async () => {
  const { folder, fetch, from } = await pushed()
  const first = await fetch()
  await rm(join(first.folder, '.complete'))
  await writeFile(join(first.folder, 'vision.onnx'), 'other')
  const { counts, store } = counted(from)
  expect(await fetch(store)).toEqual({ folder: first.folder, fetchedBytes: 10 })
  expect(counts.bytes).toBe(10)
  await expectSameModel(first.folder, folder)
})

test('a model that went missing after it was complete is fetched again', async () => {
  const { folder, fetch } = await pushed()
  const first = await fetch()
  await rm(join(first.folder, 'decoder.weights'))
  expect((await fetch()).fetchedBytes).toBe(54_321)
  await expectSameModel(first.folder, folder)
})

test('keeps complete files through kill -9, and sweeps what was under way', async () => {
  const { folder, fetch, from, scratchFolder, totalBytes } = await pushed()
  const pushedFolder = new URL(from.uri).pathname
  const child = spawn(process.execPath, [childPath, pushedFolder, scratchFolder, '20', '1000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: child.stdout }))
    if (line.includes('decoder.weights/00002')) child.kill('SIGKILL')
  if (child.signalCode === null) await once(child, 'exit')
  expect(child.signalCode).toBe('SIGKILL')
  const [name = ''] = await readdir(scratchFolder)
  const temps = join(scratchFolder, name, '.fetching')
  const [torn = ''] = await readdir(temps)
  expect(torn).toMatch(/^decoder.weights\./)
  const longAgo = new Date(Date.now() - defaultFetchLimits.staleMs - 1000)
  await utimes(join(temps, torn), longAgo, longAgo)
  const { fetchedBytes } = await fetch()
  expect(fetchedBytes).toBe(totalBytes - 1010)
  expect(await readdir(temps)).toEqual([])
  await expectSameModel(join(scratchFolder, name), folder)
})

test('says it when the disk is too small, before anything is fetched', async () => {
  const world = await pushed()
  const path = new URL(world.from.uri + weightsLockKey)
  const huge = (await readFile(path, 'utf8')).replace('54321', '900000000000000')
  await damage(world, /lock.json$/, Buffer.from(huge))
  await expect(world.fetch()).rejects.toThrow(/needs 9000\d+ bytes more, the disk of .* has \d+ free/)
})

test('says it when the disk refuses a file on the way, and goes on with room', async () => {
  const { folder, fetch, from, scratchFolder } = await pushed()
  const args = [childPath, new URL(from.uri).pathname, scratchFolder, '0', '1000']
  const limited = promisify(execFile)('bash', [
    '-c',
    'ulimit -f 20; exec "$@"',
    'bash',
    process.execPath,
    ...args,
  ])
  await expect(limited).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/could not write .*decoder.weights.*limit on file sizes/) as string,
  })
  await expectSameModel((await fetch()).folder, folder)
})

test('stops when it is told to, and leaves nothing under way', async () => {
  const { from, scratchFolder } = await pushed()
  const stop = new AbortController()
  const { store } = counted(from)
  const stopping: ObjectStore = {
    ...store,
    async getRange(key, range) {
      if (key.includes('decoder.weights')) stop.abort(new Error('SIGTERM'))
      return await store.getRange(key, range)
    },
  }
  const fetch = fetchWeights({ store: stopping, scratchFolder, limits: fetchLimits, signal: stop.signal })
  await expect(fetch).rejects.toThrow('SIGTERM')
  const [name = ''] = await readdir(scratchFolder)
  expect(await readdir(join(scratchFolder, name, '.fetching'))).toEqual([])
})
