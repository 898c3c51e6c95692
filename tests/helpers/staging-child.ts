// Writes half of a folder to OUT, says so, and waits: for tests that end it.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeFolderWhole } from '../../cli/staging.ts'

await writeFolderWhole(process.argv[2] ?? '', async (staging) => {
  await writeFile(join(staging, 'half'), '')
  console.log('half')
  await sleep(60_000)
})
