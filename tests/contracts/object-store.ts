// What every ObjectStore must do. Implementations run it from tests/dataset/stores.test.ts.
import { describe, expect, test } from 'vitest'
import { UserError } from '../../schemas/errors.ts'
import { compareKeys, listAll, listFolders, type ObjectStore } from '../../dataset/stores/object-store.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)

const badKeys = [
  '',
  '/a',
  'a/',
  'a//b',
  '../a',
  'a/../b',
  './a',
  'a\0b',
  'a\\b',
  'a'.repeat(300),
  'a/'.repeat(600) + 'b',
  '\ud800',
]

export function objectStoreContract(name: string, open: () => Promise<ObjectStore>): void {
  describe(`ObjectStore contract: ${name}`, () => {
    test('gives back what was put, whole and in ranges', async () => {
      const store = await open()
      expect(await store.putIfAbsent('a/b c/é#?%.bin', bytesOf('hello'))).toBe('created')
      expect(await store.get('a/b c/é#?%.bin')).toEqual(bytesOf('hello'))
      expect(await store.getRange('a/b c/é#?%.bin', { start: 1, end: 3 })).toEqual(bytesOf('el'))
      expect(await store.getRange('a/b c/é#?%.bin', { start: 3, end: 99 })).toEqual(bytesOf('lo'))
      expect(await store.getRange('a/b c/é#?%.bin', { start: 9, end: 99 })).toEqual(bytesOf(''))
      expect(await store.head('a/b c/é#?%.bin')).toMatchObject({ key: 'a/b c/é#?%.bin', sizeBytes: 5 })
    })

    test('gives an object in one request unless it is larger than wanted', async () => {
      const store = await open()
      await store.putIfAbsent('k', bytesOf('hello'))
      const found = { key: 'k', sizeBytes: 5 }
      expect(await store.getWithin('k', { maxBytes: 5 })).toMatchObject({ ...found, bytes: bytesOf('hello') })
      expect(await store.getWithin('k', { maxBytes: 4 })).toMatchObject({ ...found, bytes: null })
      await store.putIfAbsent('empty', new Uint8Array())
      expect(await store.getWithin('empty', { maxBytes: 0 })).toMatchObject({ bytes: new Uint8Array() })
    })

    test('keeps the first bytes of a key', async () => {
      const store = await open()
      await store.putIfAbsent('k', bytesOf('first'))
      expect(await store.putIfAbsent('k', bytesOf('second'))).toBe('exists')
      expect(await store.get('k')).toEqual(bytesOf('first'))
    })

    test('lets exactly one of many racing puts win', async () => {
      const store = await open()
      const results = await Promise.all(
        Array.from({ length: 20 }, async (_, n) => await store.putIfAbsent('race/k', bytesOf(`${n}`))),
      )
      expect(results.filter((result) => result === 'created')).toHaveLength(1)
      expect(await store.get('race/k')).toEqual(bytesOf(`${results.indexOf('created')}`))
    })

    test('holds empty objects and answers null for missing ones', async () => {
      const store = await open()
      await store.putIfAbsent('empty', new Uint8Array())
      expect(await store.get('empty')).toEqual(new Uint8Array())
      for (const key of ['missing', 'empty/below', 'no/such/folder']) {
        expect([
          await store.get(key),
          await store.getWithin(key, { maxBytes: 1 }),
          await store.getRange(key, { start: 0, end: 1 }),
          await store.head(key),
        ]).toEqual([null, null, null, null])
      }
      expect(await store.list({ prefix: 'nothing/' })).toEqual({ objects: [], next: null })
    })

    test('does not hand out its own memory', async () => {
      const store = await open()
      const mine = bytesOf('abc')
      await store.putIfAbsent('k', mine)
      mine.fill(0)
      ;(await store.get('k'))?.fill(0)
      expect(await store.get('k')).toEqual(bytesOf('abc'))
    })

    test('lists folders by name, each once, however much lies in them', async () => {
      const store = await open()
      for (const key of ['r/b/1', 'r/b/2/3', 'r/a-c/1', 'r/a/\u{1F600}/z', 'r/a/1', 's/x/1'])
        await store.putIfAbsent(key, bytesOf(key))
      const found = async (prefix?: string) => {
        const names: string[] = []
        for await (const name of listFolders(store, prefix)) names.push(name)
        return names
      }
      expect(await found('r/')).toEqual(['a-c', 'a', 'b'])
      expect(await found()).toEqual(['r', 's'])
      expect(await found('t/')).toEqual([])
    })

    test('lists by prefix in order of UTF-8 bytes, in pages of any size', async () => {
      const store = await open()
      const keys = [
        'a/b/c',
        'a-b',
        'a/b',
        'a.b',
        'a/b-c/d',
        'ab',
        'b',
        'a/é',
        'a/z',
        'a/\u{1F600}',
        'a/\uff5e',
        'a/B',
        'x/y/z/1',
        'x/y/z/2',
      ].filter((key) => key !== 'a/b')
      for (const key of keys) await store.putIfAbsent(key, bytesOf(key))
      const sorted = keys.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
      expect(keys.toSorted(compareKeys)).toEqual(sorted)
      for (const prefix of ['', 'a', 'a/', 'a/b', 'x/y/', 'nope']) {
        for (const pageSize of [1, 2, 3, 100]) {
          const found: string[] = []
          for await (const object of listAll(store, { prefix, pageSize })) found.push(object.key)
          expect(found, `${prefix} by ${pageSize}`).toEqual(sorted.filter((key) => key.startsWith(prefix)))
        }
      }
      const after = await store.list({ prefix: '', after: 'a/b', limit: 2 })
      expect(after.objects.map((object) => object.key)).toEqual(
        sorted.filter((key) => compareKeys(key, 'a/b') > 0).slice(0, 2),
      )
    })

    test.each(badKeys.map((key) => [JSON.stringify(key.slice(0, 20)), key]))(
      'refuses the key %s everywhere',
      async (_name, key) => {
        const store = await open()
        await expect(store.putIfAbsent(key, bytesOf('x'))).rejects.toThrow(UserError)
        await expect(store.get(key)).rejects.toThrow(UserError)
        await expect(store.getWithin(key, { maxBytes: 1 })).rejects.toThrow(UserError)
        await expect(store.getRange(key, { start: 0, end: 1 })).rejects.toThrow(UserError)
        await expect(store.head(key)).rejects.toThrow(UserError)
      },
    )
  })
}
