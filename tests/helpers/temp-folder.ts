// A folder for one test that is gone after it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

export async function tempFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'coglabel-test-'))
  onTestFinished(async () => await rm(folder, { recursive: true, force: true }))
  return folder
}
