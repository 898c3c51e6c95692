// A folder in a place of everybody's is used only where nobody else could have put something into it.
import { chmod, mkdir, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeOwnFolder } from '../../cli/user-cache.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

test('makes a folder for this user alone, and takes it again', async () => {
  const path = join(await tempFolder(), 'cache')
  await makeOwnFolder(path)
  await makeOwnFolder(path)
  expect((await stat(path)).mode & 0o777).toBe(0o700)
})

test.each([
  [
    'that anybody can write to',
    async (path: string) => {
      await mkdir(path)
      await chmod(path, 0o777)
    },
  ],
  [
    'that is a link to another',
    async (path: string) => {
      await mkdir(`${path}-elsewhere`)
      await symlink(`${path}-elsewhere`, path)
    },
  ],
])('refuses one %s', async (_which, prepare) => {
  const path = join(await tempFolder(), 'cache')
  await prepare(path)
  await expect(makeOwnFolder(path)).rejects.toThrow(/cache is not yours alone.*XDG_CACHE_HOME/)
})
