// Pulling labels: a verified copy, resumable, and nothing that leads out of its folder.
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { manifestKey } from '../../dataset/chain.ts'
import { writePart } from '../../dataset/parts.ts'
import { pullRun } from '../../dataset/pull.ts'
import { readRecords } from '../../dataset/read.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'
import { runConfigKey } from '../../schemas/run-config.ts'
import { someRecord } from '../helpers/records.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

async function sealedRun(generations = 3): Promise<ObjectStore> {
  const store = openMemoryStore('run')
  await store.putIfAbsent(runConfigKey, Buffer.from('{}'))
  for (let n = 0; n < generations; n += 1) {
    await writePart(store, [someRecord({ key: `${n}.png` }), someRecord({ key: `${n}.png`, task: 'qa' })])
    await sealRun({ store, runId: 'run-test', clock: () => new Date(0) })
  }
  return store
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of listAll(store, { prefix: '' })) keys.push(key)
  return keys
}

/** The same store with one object replaced. */
function tampered(store: ObjectStore, key: string, change: (text: string) => string): ObjectStore {
  return {
    ...store,
    async get(asked) {
      const bytes = await store.get(asked)
      return asked === key && bytes !== null ? Buffer.from(change(Buffer.from(bytes).toString())) : bytes
    },
  }
}

test('copies what the chain names and no part; the copy reads alike', async () => {
  const from = await sealedRun()
  const to = openFsStore(await tempFolder())
  await pullRun({ from, to })
  const wanted = (await keysOf(from)).filter((key) => /^(config|manifests|sealed|ids)/.test(key))
  expect((await keysOf(to)).filter((key) => !key.startsWith('checkpoints/'))).toEqual(wanted)
  const read = async (store: ObjectStore) => {
    const rows: string[] = []
    for await (const record of readRecords(store)) rows.push(record.recordId)
    return rows
  }
  expect(await read(to)).toEqual(await read(from))
})

test('goes on wherever it was killed, and copies nothing twice', async () => {
  const from = await sealedRun()
  const whole = openMemoryStore()
  const { copied } = await pullRun({ from, to: whole })
  for (let calls = 1; calls <= copied; calls += 1) {
    const to = openMemoryStore()
    let left = calls
    const dying: ObjectStore = {
      ...to,
      async putIfAbsent(key, bytes) {
        left -= 1
        if (left < 0) throw new Error('killed')
        return await to.putIfAbsent(key, bytes)
      },
    }
    await pullRun({ from, to: dying }).catch(() => {})
    const rest = await pullRun({ from, to })
    expect(rest.copied).toBe(copied - calls)
    expect(await keysOf(to)).toEqual(await keysOf(whole))
  }
})

test('refuses what is not what its manifest says, on either side', async () => {
  const from = await sealedRun()
  const shard = (await keysOf(from)).find((key) => key.startsWith('sealed/'))!
  const damaged = pullRun({ from: tampered(from, shard, (text) => `${text}x`), to: openMemoryStore() })
  await expect(damaged).rejects.toThrow(/is not what its manifest says/)
  for (const [key, message] of [
    [shard, /differs/],
    [runConfigKey, /another run/],
    [manifestKey(2), /differs/],
  ] as const) {
    const to = openMemoryStore()
    await to.putIfAbsent(key, Buffer.from('other'))
    await expect(pullRun({ from, to }), key).rejects.toThrow(message)
  }
})

test('refuses manifests that lead out of the folder, and links that do', async () => {
  const from = await sealedRun()
  const place = await tempFolder()
  for (const evil of ['../../evil.jsonl.gz', '/etc/evil', 'sealed/../../evil', 'parts/evil']) {
    const out = join(place, 'out')
    const manifest = tampered(from, manifestKey(1), (text) =>
      text.replace(/"key": ?"sealed[^"]*"/, `"key":${JSON.stringify(evil)}`),
    )
    await expect(pullRun({ from: manifest, to: openFsStore(out) }), evil).rejects.toThrow(UserError)
  }
  expect(await readdir(place)).toEqual(['out'])
  const [out, elsewhere] = [join(place, 'linked'), join(place, 'elsewhere')]
  await mkdir(out)
  await mkdir(elsewhere)
  await symlink(elsewhere, join(out, 'sealed'))
  await expect(pullRun({ from, to: openFsStore(out) })).rejects.toThrow(/outside/)
  expect(await readdir(elsewhere)).toEqual([])
  const secret = join(place, 'secret')
  await writeFile(secret, 'secret')
  await mkdir(join(place, 'third'))
  await symlink(secret, join(place, 'third', runConfigKey))
  await expect(pullRun({ from, to: openFsStore(join(place, 'third')) })).rejects.toThrow(/another run/)
})
