// The stores: the contract over each, and what only a disk can do wrong.
import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openFsSweeper } from '../../dataset/stores/fs-sweeper.ts'
import { openFsStore, sweepStaleTemps } from '../../dataset/stores/fs.ts'
import { openMemoryPlace, openMemoryStore } from '../../dataset/stores/memory.ts'
import { UserError } from '../../schemas/errors.ts'
import { objectStoreContract } from '../contracts/object-store.ts'
import { objectSweeperContract } from '../contracts/object-sweeper.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

objectStoreContract('fs', async () => openFsStore(join(await tempFolder(), 'store')))
objectStoreContract('memory', async () => openMemoryStore())
objectSweeperContract('memory', async () => openMemoryPlace())
objectSweeperContract('fs', async () => {
  const folder = join(await tempFolder(), 'store')
  return { store: openFsStore(folder), sweeper: openFsSweeper(folder) }
})

test('never reads or writes through a link that leads out of the folder', async () => {
  const folder = await tempFolder()
  await mkdir(join(folder, 'store'))
  await mkdir(join(folder, 'outside'))
  await writeFile(join(folder, 'outside', 'secret'), 'secret')
  await symlink(join(folder, 'outside'), join(folder, 'store', 'link'))
  await symlink(join(folder, 'outside', 'secret'), join(folder, 'store', 'file-link'))
  const store = openFsStore(join(folder, 'store'))
  expect(await store.get('link/secret')).toBeNull()
  expect(await store.get('file-link')).toBeNull()
  await openFsSweeper(join(folder, 'store')).remove(['link/secret'])
  await expect(store.putIfAbsent('link/new', new Uint8Array(1))).rejects.toThrow(UserError)
  expect(await readdir(join(folder, 'outside'))).toEqual(['secret'])
  expect((await store.list({ prefix: '' })).objects).toEqual([])
})

test('does not hang on a pipe', async () => {
  const folder = await tempFolder()
  execFileSync('mkfifo', [join(folder, 'pipe')])
  expect(await openFsStore(folder).get('pipe')).toBeNull()
})

test('leaves no temp files behind and sweeps those of killed processes', async () => {
  const folder = await tempFolder()
  const store = openFsStore(folder)
  await store.putIfAbsent('a', new Uint8Array(3))
  await store.putIfAbsent('a', new Uint8Array(3))
  expect(await readdir(join(folder, '.tmp'))).toEqual([])
  await writeFile(join(folder, '.tmp', 'torn'), 'half')
  await writeFile(join(folder, '.tmp', 'fresh'), 'half')
  await utimes(join(folder, '.tmp', 'torn'), 1, 1)
  await sweepStaleTemps(folder, Date.now())
  expect(await readdir(join(folder, '.tmp'))).toEqual(['fresh'])
  expect((await store.list({ prefix: '' })).objects.map((object) => object.key)).toEqual(['a'])
  expect(await readFile(join(folder, 'a'))).toHaveLength(3)
})
