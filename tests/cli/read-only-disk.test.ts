// A disk that is mounted read-only, as archives and shared datasets are: what is said of it, and what goes on all the same.
import { execFile, execFileSync } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { userCacheFolder } from '../../cli/user-cache.ts'
import { makeFolder } from '../../dataset/stores/make-folder.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const run = promisify(execFile)
const inOwnMounts = ['--user', '--map-root-user', '--mount']

/** Linux lets a process mount for itself alone, where nobody has forbidden it. */
const canMount = (() => {
  try {
    execFileSync('unshare', [...inOwnMounts, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

/** Runs a script of one line, in which `disk` is a folder on a read-only disk that holds a folder `run`. */
async function onReadOnlyDisk(script: string): Promise<unknown> {
  const folder = await tempFolder()
  const mount = `mount -t tmpfs tmpfs /mnt && mount -t tmpfs tmpfs "${folder}" && mkdir "${folder}/run" "${folder}/coglabel" && mount -o remount,ro "${folder}"`
  const module = `const disk = ${JSON.stringify(folder)}\nconst load = (path) => import(new URL(path, ${JSON.stringify(import.meta.url)}).href)\n${script}`
  const { stdout } = await run(
    'unshare',
    [
      ...inOwnMounts,
      'sh',
      '-c',
      `${mount} && exec "$@"`,
      'sh',
      process.execPath,
      '--input-type=module',
      '-e',
    ].concat(module),
  )
  return JSON.parse(stdout)
}

test.skipIf(!canMount)('names a read-only disk as one, however many folders are missing', async () => {
  const codes = await onReadOnlyDisk(`
    const { makeFolder } = await load('../../dataset/stores/make-folder.ts')
    const codeOf = async (path) => await makeFolder(path).then(() => 'made', ({ code }) => code)
    console.log(JSON.stringify([await codeOf(disk + '/a'), await codeOf(disk + '/a/b/c'), await codeOf(disk + '/run')]))`)
  expect(codes).toEqual(['EROFS', 'EROFS', 'made'])
})

test.skipIf(!canMount)('keeps the index of a run on a read-only disk elsewhere', async () => {
  const cache = await onReadOnlyDisk(`
    const { openReviewCache } = await load('../../cli/review-cache.ts')
    const { isReadOnlyRun, close } = await openReviewCache(disk + '/run')
    await close()
    console.log(JSON.stringify({ isReadOnlyRun }))`)
  expect(cache).toEqual({ isReadOnlyRun: true })
})

test('makes folders as Node does where the disk lets it', async () => {
  const folder = await tempFolder()
  expect(await makeFolder(join(folder, 'a/b'))).toBe(join(folder, 'a'))
  expect(await makeFolder(join(folder, 'a/b'))).toBeUndefined()
  await mkdir(join(folder, 'c'))
  expect(await makeFolder(join(folder, 'c/d'))).toBe(join(folder, 'c/d'))
})

test.skipIf(!canMount)('compiles a model aside where the cache of the user cannot be written', async () => {
  const compiled = await onReadOnlyDisk(`
    process.env.XDG_CACHE_HOME = disk
    process.env.TMPDIR = '/mnt'
    const { findCompiledModel } = await load('../../cli/open-model.ts')
    console.log(JSON.stringify(await findCompiledModel({})))`)
  expect(compiled).toMatch(/^\/mnt\/coglabel-cache-0\/scenes-v2-[0-9a-f]{16}$/)
})

test.each([
  ['/var/cache', '/var/cache/coglabel'],
  ['', join(homedir(), '.cache/coglabel')],
  ['here', join(homedir(), '.cache/coglabel')],
  [undefined, join(homedir(), '.cache/coglabel')],
])('takes a cache at %j to be %s', (variable, folder) => {
  expect(userCacheFolder({ XDG_CACHE_HOME: variable })).toBe(folder)
})
