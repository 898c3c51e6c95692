// Uploading twice: what is there is known by its bytes, whoever put it there, and never replaced.
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { uploadImages } from '../../dataset/upload.ts'
import { openEmulated } from '../helpers/emulated-store.ts'

const image = (text: string) => Buffer.from(`image ${text}`)

async function sourceOf(texts: Record<string, string>) {
  const store = openMemoryStore('source')
  for (const [key, text] of Object.entries(texts)) await store.putIfAbsent(key, image(text))
  return {
    store,
    async *items() {
      for (const key of Object.keys(texts)) yield { key }
    },
  }
}

/** Counts what is read of it. */
function watched(store: ObjectStore): { store: ObjectStore; reads: string[] } {
  const reads: string[] = []
  const get: ObjectStore['get'] = async (key) => {
    reads.push(key)
    return await store.get(key)
  }
  return { store: { ...store, get }, reads }
}

const upload = async (store: ObjectStore, texts: Record<string, string>) =>
  await uploadImages({ source: await sourceOf(texts), store, prefix: 'uploads/' })

test.each([
  ['memory', async () => ({ store: openMemoryStore(), reads: ['uploads/a', 'uploads/b'] })],
  ['s3', async () => ({ store: (await openEmulated()).store, reads: [] })],
])(
  'what is in %s already is not sent again, and other bytes of one size are refused',
  async (_name, open) => {
    const { store: plain, reads } = await open()
    const { store, reads: seen } = watched(plain)
    expect(await upload(store, { a: '1', b: '2' })).toEqual({ images: 2, known: 0, skipped: {} })
    expect(await upload(store, { a: '1', b: '2' })).toEqual({ images: 2, known: 2, skipped: {} })
    expect(seen.toSorted()).toEqual(reads)
    await expect(upload(store, { a: '1', b: '3' })).rejects.toThrow(
      /^memory:\/\/source\/b has changed since it was uploaded.*--run NAME/,
    )
    await expect(upload(store, { a: '1', b: '22' })).rejects.toThrow(/has changed since/)
    expect(await store.get('uploads/b')).toEqual(Uint8Array.from(image('2')))
  },
)

test('what somebody else put into a bucket is known by its ETag, and read where that does not say', async () => {
  const { store: plain, client } = await openEmulated()
  for (const [key, text] of Object.entries({ 'uploads/a': '1', 'uploads/b': '2' }))
    await client.send(new PutObjectCommand({ Bucket: 'labels', Key: key, Body: image(text) }))
  const { store, reads } = watched(plain)
  expect(await upload(store, { a: '1' })).toEqual({ images: 1, known: 1, skipped: {} })
  expect(reads).toEqual([])
  await expect(upload(store, { b: '3' })).rejects.toThrow(/has changed since/)
  expect(reads).toEqual(['uploads/b'])
})
