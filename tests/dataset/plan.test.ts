// Planning: every image of a source is asked for, in messages within their limits, whatever interrupts the planner.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { readQueueBody } from '../../dataset/events.ts'
import { openSource } from '../../dataset/ingest.ts'
import { readList, scanList } from '../../dataset/plan-lists.ts'
import { openShards } from '../../dataset/plan-sources.ts'
import { type PlanOptions, type PlanShard, planRun, readPlan } from '../../dataset/plan.ts'
import { openMemoryQueue } from '../../dataset/queues/memory.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import type { RunSource } from '../../schemas/run-config.ts'
import { maxImagesPerMessage, maxOwnBytes, maxWorkMessageBytes } from '../../schemas/work-message.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const runId = 'run-1'
const limits = { imagesPerPage: 60, ownBytesPerPage: 256 * 1024, batchesInFlight: 2 }

function openWorld(keys: readonly string[] = []) {
  const [images, others, store] = ['images', 'others', 'run'].map((name) => openMemoryStore(name))
  const bodies: string[] = []
  const queue = openMemoryQueue()
  const world = {
    images: images!,
    store: store!,
    bodies,
    place: {
      uploadBucket: 'images',
      imagesOf(bucket: string): ObjectStore {
        if (bucket === 'images') return images!
        if (bucket === 'others') return others!
        throw new UserError(`no bucket ${bucket}`)
      },
      runStoreOf: () => store!,
    },
    sender: {
      async send(batch: readonly string[]) {
        bodies.push(...batch)
        return await queue.send(batch)
      },
    },
    async put(more: readonly string[]) {
      for (const key of more) await images!.putIfAbsent(key, Buffer.from('x'))
    },
    async plan(
      source: RunSource,
      { itemTasks, ...options }: Partial<PlanOptions> & { itemTasks?: string[] } = {},
    ) {
      const run = { runId, source, ...(itemTasks === undefined ? {} : { itemTasks }) }
      const shards = await openShards(run, world.place)
      return await world.planShards(shards, options)
    },
    planShards: async (shards: readonly PlanShard[], options: Partial<PlanOptions> = {}) =>
      await planRun(shards, {
        runId,
        store: store!,
        queue: world.sender,
        clock: () => new Date(0),
        limits,
        ...options,
      }),
    /** `bucket/key` of everything asked for so far, in order. */
    asked: () =>
      bodies.flatMap((body) => {
        expect(Buffer.byteLength(body)).toBeLessThanOrEqual(maxWorkMessageBytes)
        const event = readQueueBody(body)
        if (event.kind !== 'work') throw new Error(`a message is ${event.kind}`)
        expect(event.items.length).toBeLessThanOrEqual(maxImagesPerMessage)
        return event.items.map(({ bucket, key }) => `${bucket}/${key}`)
      }),
  }
  return { ...world, ready: world.put(keys) }
}

const numbered = (count: number) =>
  Array.from({ length: count }, (_, n) => `p/${String(n).padStart(4, '0')}.png`)
const prefix = (text: string): RunSource => ({
  kind: 'bucket',
  uri: 's3://images/',
  bucket: 'images',
  prefix: text,
})
const list = (key: string): RunSource => ({ kind: 'list', uri: `s3://images/${key}`, bucket: 'images', key })

describe('a prefix', () => {
  test('is asked for once, page by page, and a second plan sends nothing', async () => {
    const world = openWorld()
    await world.put([...numbered(200), 'q/other.png', 'p/notes.txt', 'p/.hidden.png'])
    const progress = await world.plan(prefix('p/'))
    expect(progress).toEqual({
      images: 200,
      records: null,
      messages: world.bodies.length,
      skipped: { 'hidden': 1, 'not an image by its extension': 1 },
      isComplete: true,
    })
    expect(world.asked()).toEqual(numbered(200).map((key) => `images/${key}`))
    const before = world.bodies.length
    expect(await world.plan(prefix('p/'))).toEqual(progress)
    expect(world.bodies.length).toBe(before)
    const pages: string[] = []
    for await (const { key } of listAll(world.store, { prefix: '' })) pages.push(key)
    expect(pages).toEqual([1, 2, 3, 4].map((page) => `plan/prefix/0000000${page}.json`))
  })

  test('of a whole bucket never holds our own output nor what was uploaded for a run', async () => {
    const world = openWorld()
    await world.put([
      'a.png',
      'runs/run-1/thumbs/a.png',
      'incoming/run-2/b.png',
      'listed-uploads/run-3/c.png',
      'runs.png',
    ])
    await world.plan(prefix(''))
    expect(world.asked()).toEqual(['images/a.png', 'images/runs.png'])
    await world.plan({ kind: 'folder', uri: 'file:///x/' })
    const upload = openWorld()
    await upload.put(['a.png', 'incoming/run-1/b.png', 'incoming/run-10/c.png'])
    await upload.plan({ kind: 'standing', uri: 's3://images/incoming/', bucket: 'images' })
    expect(upload.asked()).toEqual(['images/incoming/run-1/b.png'])
  })

  test('that is hidden itself is asked for: only what is hidden below it is left out', async () => {
    const world = openWorld()
    await world.put(['.data/x/a.png', '.data/x/.b.png', '.data/.x/c.png'])
    await world.plan(prefix('.data/x/'))
    expect(world.asked()).toEqual(['images/.data/x/a.png'])
    const other = openWorld()
    await other.put(['.data/x/a.png', '.data/.x/c.png'])
    await other.plan(prefix('.data/'))
    expect(other.asked()).toEqual(['images/.data/x/a.png'])
  })

  test('of uploads holds what their events ask for, with or without an extension', async () => {
    const world = openWorld()
    await world.put(['a.png', 'noext', 'a.txt', '.DS_Store'].map((name) => `incoming/run-1/${name}`))
    const { skipped } = await world.plan({ kind: 'standing', uri: 's3://images/incoming/', bucket: 'images' })
    expect(world.asked()).toEqual(['images/incoming/run-1/a.png', 'images/incoming/run-1/noext'])
    expect(skipped).toEqual({ 'hidden': 1, 'not an image by its extension': 1 })
  })

  test('asks also for names that no store reads: each becomes a record that says so', async () => {
    const shard = (
      await openShards(
        { runId, source: prefix('') },
        {
          uploadBucket: 'images',
          runStoreOf: () => openMemoryStore(),
          imagesOf: () => ({
            ...openMemoryStore(),
            list: async () => ({ objects: [{ key: 'a//b\\.png', sizeBytes: 1 }], next: null }),
          }),
        },
      )
    )[0]!
    const world = openWorld()
    await world.planShards([shard])
    expect(world.asked()).toEqual(['images/a//b\\.png'])
  })
})

describe('a planner that is interrupted', () => {
  test('goes on behind its last page, wherever it was killed', async () => {
    for (let calls = 1; calls <= 12; calls += 1) {
      const world = openWorld()
      await world.put(numbered(200))
      let left = calls
      const die = () => {
        left -= 1
        if (left === 0) throw new Error('killed')
      }
      const dying = {
        queue: {
          async send(bodies: readonly string[]) {
            die()
            return await world.sender.send(bodies)
          },
        },
        store: {
          ...world.store,
          async putIfAbsent(key: string, bytes: Uint8Array) {
            die()
            const outcome = await world.store.putIfAbsent(key, bytes)
            die()
            return outcome
          },
        },
      }
      await world.plan(prefix('p/'), dying).catch(() => {})
      const progress = await world.plan(prefix('p/'))
      expect(progress).toMatchObject({ images: 200, isComplete: true })
      const asked = world.asked()
      expect(new Set(asked).size).toBe(200)
      expect(asked.length).toBeLessThanOrEqual(200 + limits.imagesPerPage)
    }
  })

  test('stops after its page when it is asked to', async () => {
    const world = openWorld()
    await world.put(numbered(200))
    const stop = new AbortController()
    const options = { stop: stop.signal, onProgress: () => stop.abort() }
    expect(await world.plan(prefix('p/'), options)).toMatchObject({ images: 60, isComplete: false })
    expect(await world.plan(prefix('p/'))).toMatchObject({ images: 200, isComplete: true })
    expect(world.asked()).toHaveLength(200)
  })

  test('and one of several at once leave one plan', async () => {
    const world = openWorld()
    await world.put(numbered(200))
    const all = await Promise.all([1, 2, 3].map(async () => await world.plan(prefix('p/'))))
    for (const progress of all) expect(progress).toMatchObject({ images: 200, isComplete: true })
    expect(new Set(world.asked()).size).toBe(200)
  })
})

test('sends again what the queue did not take, and gives up on one that never does', async () => {
  const world = openWorld()
  await world.put(numbered(200))
  let refused = 3
  const busy = {
    async send(bodies: readonly string[]) {
      refused -= 1
      if (refused >= 0) return bodies.map(() => false)
      return await world.sender.send(bodies)
    },
  }
  expect(await world.plan(prefix('p/'), { queue: busy })).toMatchObject({ images: 200 })
  expect(new Set(world.asked()).size).toBe(200)
  const never = openWorld()
  await never.put(['p/a.png'])
  const refuses = { send: async (bodies: readonly string[]) => bodies.map(() => false) }
  await expect(never.plan(prefix('p/'), { queue: refuses })).rejects.toThrow(RetryableError)
})

describe('a list', () => {
  test.each([
    ['keys.jsonl', '"a b.png"\n{"key":"é.png","versionId":"v1"}\n\n{"bucket":"others","key":"c.png"}\n'],
    [
      'p/keys.ndjson',
      '\u{feff}{"image":"../a b.png","meta":1}\r\n{"path":"../é.png"}\n{"bucket":"others","key":"c.png"}',
    ],
    ['keys.csv', 'Bucket,Key\nimages,a+b.png\nimages,%C3%A9.png\nothers,c.png\n'],
    ['keys.csv', 'images,a%20b.png\n"images","%C3%A9.png","v1"\nothers,c.png\n'],
    ['keys.csv', 'key,size\na b.png,1\n"é.png",\nc.png,3'],
    ['keys.csv', 'a b.png\né.png\nc.png'],
  ])('%s: %j', async (key, text) => {
    for (const name of [key, `${key}.gz`]) {
      const world = openWorld()
      await world.images.putIfAbsent(name, name === key ? Buffer.from(text) : gzipSync(text))
      expect(await world.plan(list(name))).toMatchObject({ images: 3, isComplete: true })
      const last = text.includes('others') ? 'others/c.png' : 'images/c.png'
      expect(world.asked()).toEqual(['images/a b.png', 'images/é.png', last])
    }
  })

  test('of an S3 Inventory is one shard a file, without what is deleted or replaced', async () => {
    const world = openWorld()
    const fileSchema = 'Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size'
    const files = ['data/1.csv.gz', 'data/2.csv.gz']
    const manifest = {
      sourceBucket: 'images',
      fileFormat: 'CSV',
      fileSchema,
      files: files.map((key) => ({ key })),
    }
    await world.images.putIfAbsent('inventory/manifest.json', Buffer.from(JSON.stringify(manifest)))
    const rows = [
      ['"images","a%2Bb.png","v2","true","false","5"', '"images","a%2Bb.png","v1","false","false","5"'],
      [
        '"images","gone.png","v9","true","true",""',
        '"images","runs/run-1/x.png","","true","false","1"',
        '"images","c.png","","true","false","7"',
      ],
    ]
    for (const [n, key] of files.entries())
      await world.images.putIfAbsent(key, gzipSync(`${rows[n]!.join('\n')}\n`))
    expect(await world.plan(list('inventory/manifest.json'))).toEqual({
      images: 2,
      records: null,
      messages: 2,
      skipped: { 'deleted or replaced': 2, 'our own output': 1 },
      isComplete: true,
    })
    expect(world.asked()).toEqual(['images/a+b.png', 'images/c.png'])
    expect(world.bodies[0]).toContain('"versionId":"v2","sizeBytes":5')
  })

  test('goes on behind the line where it was', async () => {
    const world = openWorld()
    const text = numbered(200)
      .map((key) => JSON.stringify({ key }))
      .join('\n')
    await world.images.putIfAbsent('keys.jsonl.gz', gzipSync(text))
    const stop = new AbortController()
    await world.plan(list('keys.jsonl.gz'), { stop: stop.signal, onProgress: () => stop.abort() })
    expect(await world.plan(list('keys.jsonl.gz'))).toMatchObject({ images: 200, isComplete: true })
    expect(world.asked()).toHaveLength(200)
  })

  test('that names an image twice counts it once, also behind a page, for it gets its records once', async () => {
    const world = openWorld()
    const keys = [...Array.from({ length: 70 }, (_, n) => `${n}.png`), '3.png', '69.png', 'z.png']
    await world.images.putIfAbsent('keys.csv', Buffer.from(keys.join('\n')))
    const stop = new AbortController()
    await world.plan(list('keys.csv'), { stop: stop.signal, onProgress: () => stop.abort() })
    expect(await world.plan(list('keys.csv'))).toMatchObject({ images: 71, skipped: { 'named twice': 2 } })
    expect(world.asked()).toEqual([...new Set(keys)].map((key) => `images/${key}`))
  })

  test('brings what its lines have of their own, whole, on every page and again after a stop', async () => {
    const world = openWorld()
    const own = (n: number) => ({
      questions: [`is this ${n}? \uffff`, 'why?'],
      meta: { id: n, note: 'é'.repeat(4000), deep: [{ n }] },
    })
    const lines = numbered(90).map((key, n) => {
      const { questions, meta } = own(n)
      const { id, ...rest } = meta
      return JSON.stringify({ key, id, questions: [...questions, 'why?'], ...rest })
    })
    await world.images.putIfAbsent('keys.jsonl', Buffer.from(lines.join('\n')))
    const stop = new AbortController()
    const options = { countRecords: () => 3, itemTasks: ['qa'] }
    await world.plan(list('keys.jsonl'), { ...options, stop: stop.signal, onProgress: () => stop.abort() })
    const before = world.bodies.length
    expect(await world.plan(list('keys.jsonl'), options)).toMatchObject({
      images: 90,
      records: 270,
      isComplete: true,
    })
    expect(before).toBeGreaterThan(0)
    expect(world.asked()).toEqual(numbered(90).map((key) => `images/${key}`))
    const items = world.bodies.flatMap((body) => {
      const event = readQueueBody(body)
      return event.kind === 'work' ? event.items : []
    })
    expect(items.map(({ questions, meta }) => ({ questions, meta }))).toEqual(items.map((_item, n) => own(n)))
    const pages: string[] = []
    for await (const { key } of listAll(world.store, { prefix: 'plan/' })) pages.push(key)
    // Of 8 kB each, so it is their bytes that end a page.
    expect(pages).toHaveLength(3)
  })

  test('reads fields as a manifest of this machine does', async () => {
    const lines = [
      { image: 'a.png', questions: ['Is it?', 'Is it?'], phrases: ['the dog'], id: 7 },
      {
        path: 'b.png',
        questions: [{ q: 'from another tool' }],
        phrases: 'the cat',
        meta: { split: 'train' },
      },
      { file: 'c.png', questions: [], meta: 5, caption: null },
      { image: 'd.png', path: 'elsewhere.png' },
    ].map((line) => JSON.stringify(line))
    const folder = await tempFolder()
    await writeFile(join(folder, 'list.jsonl'), lines.join('\n'))
    const source = await openSource(join(folder, 'list.jsonl'), { exclude: '/nowhere' })
    const items = []
    for await (const item of source.items()) items.push(item)
    const store = openFsStore(folder)
    const listed = []
    for await (const line of readList(store, { key: 'list.jsonl' }, 0)) listed.push(line.listed)
    expect(listed).toEqual(items)
    expect(await scanList(store, { key: 'list.jsonl', bucket: 'images' })).toEqual(
      (await source.scan()).brings,
    )
  })

  test.each([
    [
      'one image twice',
      ['{"key":"a.png","phrases":["x"]}', '"b.png"', '"a.png"'],
      /line 3 of .* names a\.png again/,
    ],
    [
      'more than a message carries',
      ['"b.png"', `{"key":"a.png","note":"${'x'.repeat(maxOwnBytes)}"}`],
      /line 2 of .* has \d+ bytes of questions/,
    ],
    [
      'depths',
      [`{"key":"a.png","note":${'['.repeat(9000)}${']'.repeat(9000)}}`],
      /line 1 of .* nested more than 64 deep/,
    ],
  ])('with %s is refused by line before anything is asked', async (_name, lines, message) => {
    const world = openWorld()
    await world.images.putIfAbsent('keys.jsonl', Buffer.from(lines.join('\n')))
    const failed = scanList(world.images, { key: 'keys.jsonl', bucket: 'images' })
    await expect(failed).rejects.toThrow(message)
    await expect(failed).rejects.toThrow(UserError)
  })

  test('that has got questions since its run was submitted is refused', async () => {
    const world = openWorld()
    await world.images.putIfAbsent(
      'keys.jsonl',
      Buffer.from('"a.png"\n{"key":"b.png","questions":["is it?"]}'),
    )
    await expect(world.plan(list('keys.jsonl'))).rejects.toThrow(/line 2 of .* submit another run/)
    expect(world.bodies).toEqual([])
  })

  test.each([
    ['keys.jsonl', '{"url":"x"}', /line 1 of .*expected \{"key"/],
    ['keys.jsonl', '"a.png"\nb.png', /line 2/],
    ['p/keys.jsonl', '{"image":"../../etc/passwd"}', /outside the bucket/],
    ['keys.jsonl', '{"image":"/etc/passwd"}', /outside the bucket/],
    ['keys.csv', 'secret,a.png', /line 1 .*no bucket secret/],
    ['keys.csv', 'images,"a.png', /quote that does not end/],
    ['keys.csv', 'images, "a.png"', /not at the edge of its cell/],
    ['keys.csv', 'Image\na.png', /line 1 .* names the columns Image, none of them key/],
    ['keys.csv', 'bucket,key\nimages,', /names no key/],
    ['keys.csv.gz', 'images,a.png', /not readable gzip/],
    ['keys.jsonl', `"${'x'.repeat(2_000_000)}"`, /more than 1048576 characters/],
    ['manifest.json', '{"fileFormat":"ORC","fileSchema":"x","files":[]}', /ORC; make one in CSV/],
    ['manifest.json', '[]', /no manifest of an S3 Inventory/],
  ])('%s: %.40s is refused by line and by name', async (key, text, message) => {
    const world = openWorld()
    await world.images.putIfAbsent(key, Buffer.from(text))
    const failed = world.plan(list(key))
    await expect(failed).rejects.toThrow(message)
    await expect(failed).rejects.toThrow(UserError)
  })

  test('that is not there is refused', async () => {
    await expect(openWorld().plan(list('missing.csv'))).rejects.toThrow(/there is no list/)
  })

  test('and its bucket may go once the plan is complete, and not before', async () => {
    const world = openWorld()
    await world.images.putIfAbsent('keys.csv', Buffer.from('a.png\nb.png'))
    await world.plan(list('keys.csv'))
    const gone = {
      ...world.place,
      imagesOf(bucket: string): ObjectStore {
        throw new UserError(`no bucket ${bucket}`)
      },
    }
    const prefix: RunSource = { kind: 'bucket', uri: 's3://images/p/', bucket: 'images', prefix: 'p/' }
    for (const source of [list('keys.csv'), prefix])
      for (const place of [gone, { ...world.place, imagesOf: () => openMemoryStore('empty') }])
        await expect(
          openShards({ runId, source }, place).then((shards) => readPlan(world.store, shards)),
        ).resolves.toMatchObject({ isComplete: source.kind === 'list' })
    await expect(openShards({ runId, source: prefix }, gone).then(world.planShards)).rejects.toThrow(
      /no bucket/,
    )
  })

  test('may hold keys that lead elsewhere: they are asked for as keys, and names that are none are counted', async () => {
    const world = openWorld()
    const keys = ['../../etc/passwd', '/etc/shadow', `${'k'.repeat(1100)}.png`, 'a\ud800.png']
    await world.images.putIfAbsent(
      'keys.jsonl',
      Buffer.from(keys.map((key) => JSON.stringify({ key })).join('\n')),
    )
    expect((await world.plan(list('keys.jsonl'))).skipped).toEqual({ 'unusable name': 2 })
    expect(world.asked()).toEqual(['images/../../etc/passwd', 'images//etc/shadow'])
  })
})
