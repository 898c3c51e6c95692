// What every ObjectSweeper must do beside its store. Implementations run it from tests/dataset/stores*.test.ts.
import { describe, expect, test } from 'vitest'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { listAged, type ObjectSweeper } from '../../dataset/stores/object-sweeper.ts'
import { UserError } from '../../schemas/errors.ts'

type Opened = { store: ObjectStore; sweeper: ObjectSweeper }

const keysOf = async (sweeper: ObjectSweeper, prefix: string) => {
  const keys: string[] = []
  for await (const { key } of listAged(sweeper, prefix)) keys.push(key)
  return keys
}

export function objectSweeperContract(name: string, open: () => Promise<Opened>): void {
  describe(`ObjectSweeper contract: ${name}`, () => {
    test('lists what the store holds, in its order, with sizes and ages', async () => {
      const { store, sweeper } = await open()
      expect(sweeper.uri).toBe(store.uri)
      for (const key of ['b', 'a/é #1', 'a/2', 'a.b'])
        await store.putIfAbsent(key, new Uint8Array(key.length))
      const { objects, next } = await sweeper.list({ prefix: 'a/' })
      expect(next).toBeNull()
      expect(objects).toMatchObject([
        { key: 'a/2', sizeBytes: 3 },
        { key: 'a/é #1', sizeBytes: 6 },
      ])
      for (const { modifiedAtMs } of objects) expect(Math.abs(Date.now() - modifiedAtMs)).toBeLessThan(60_000)
      const page = await sweeper.list({ prefix: '', limit: 2 })
      expect(page.objects.map(({ key }) => key)).toEqual(['a.b', 'a/2'])
      expect((await sweeper.list({ prefix: '', after: page.next ?? undefined })).objects).toHaveLength(2)
    })

    test('deletes what it is told and nothing beside, gone or not', async () => {
      const { store, sweeper } = await open()
      for (const key of ['a/1', 'a/2', 'a/2b', 'a/é+ %', 'b']) await store.putIfAbsent(key, new Uint8Array(1))
      await sweeper.remove(['a/2', 'a/é+ %', 'a', 'gone'])
      await sweeper.remove(['a/2'])
      await sweeper.remove([])
      expect(await keysOf(sweeper, '')).toEqual(['a/1', 'a/2b', 'b'])
      expect(await store.get('a/2')).toBeNull()
      expect(await store.putIfAbsent('a/2', new Uint8Array(2))).toBe('created')
    })

    test('deletes more keys than one request takes', async () => {
      const { store, sweeper } = await open()
      const keys = Array.from({ length: 1100 }, (_, n) => `many/${n}`)
      await store.putIfAbsent('many/1099', new Uint8Array(1))
      await store.putIfAbsent('many/7', new Uint8Array(1))
      await sweeper.remove(keys)
      expect(await keysOf(sweeper, '')).toEqual([])
    })

    test.each(['', '../a', 'a/../b', '/a', 'a//b'])('refuses the key %j', async (key) => {
      const { sweeper } = await open()
      await expect(sweeper.remove([key])).rejects.toThrow(UserError)
    })
  })
}
