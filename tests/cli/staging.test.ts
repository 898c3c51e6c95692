// A folder or a file that is there whole or not at all: after errors, kills and on places that cannot be written.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { writeFolderWhole } from '../../cli/staging.ts'
import { writeWhole } from '../../cli/write-whole.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const child = fileURLToPath(new URL('../helpers/staging-child.ts', import.meta.url))

/** Starts a command that writes half of a folder and waits; ends it by the signal. */
async function endHalfWay(out: string, signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
  const process_ = spawn(process.execPath, [child, out], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(process_.stdout, 'data')
  process_.kill(signal)
  const [code] = (await once(process_, 'exit')) as [number | null]
  return code
}

test('leaves nothing after an error, and the folder whole otherwise', async () => {
  const folder = await tempFolder()
  const out = join(folder, 'out')
  const failing = writeFolderWhole(out, async (staging) => {
    await writeFile(join(staging, 'half'), '')
    throw new Error('half way')
  })
  await expect(failing).rejects.toThrow('half way')
  expect(await readdir(folder)).toEqual([])
  await mkdir(out)
  expect(
    await writeFolderWhole(out, async (staging) => await writeFile(join(staging, 'a'), '')),
  ).toBeUndefined()
  expect(await readdir(folder)).toEqual(['out'])
  expect(await readdir(out)).toEqual(['a'])
})

test('leaves nothing after an interrupt, and what kill -9 left goes with the next command', async () => {
  const folder = await tempFolder()
  const out = join(folder, 'out')
  expect(await endHalfWay(out, 'SIGINT')).toBe(130)
  expect(await endHalfWay(out, 'SIGTERM')).toBe(130)
  expect(await readdir(folder)).toEqual([])
  await endHalfWay(out, 'SIGKILL')
  expect(await readdir(folder)).toHaveLength(1)
  // Those of a process that is there, of another machine or of another place are not ours to remove.
  const others = [
    `.out.partial-${hostname()}-${process.ppid}`,
    '.out.partial-elsewhere-1',
    `.out2.partial-${hostname()}-1`,
  ]
  for (const name of others) await mkdir(join(folder, name))
  await sleep(50)
  await writeFolderWhole(out, async (staging) => await writeFile(join(staging, 'a'), ''))
  expect((await readdir(folder)).toSorted()).toEqual([...others, 'out'].toSorted())
})

test('writes a file with its folders, and keeps the old one when it cannot', async () => {
  const folder = await tempFolder()
  const path = join(folder, 'a', 'b', 'file')
  await writeWhole(path, 'old')
  await writeWhole(path, 'new')
  expect(await readFile(path, 'utf8')).toBe('new')
  expect(await readdir(join(folder, 'a', 'b'))).toEqual(['file'])
  await expect(writeWhole(join(path, 'below'), 'x')).rejects.toThrow(
    /could not write .*a part of the path is a file/,
  )
})
