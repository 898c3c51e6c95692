// How fast a pushed model comes down and is checked: from a folder, and through the AWS SDK from the emulator, which
// is one process on the same cores and so the slower end. One sha256 over the same bytes, alone, is the yardstick.
//   node bench/fetch-weights.ts [--mb 512] [--repeats 5]
// Prints a JSON line of medians a measure. Nothing is on a network here.
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fetchWeights } from '../dataset/fetch-weights.ts'
import { pushModel } from '../dataset/push-weights.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { openS3Store } from '../dataset/stores/s3.ts'
import { writeCompiledFolder } from '../tests/helpers/compiled-folder.ts'
import { startEmulatorProcess } from './overhead/emulator-process.ts'

const { values } = parseArgs({
  options: { mb: { type: 'string', default: '512' }, repeats: { type: 'string', default: '5' } },
})
const sizeBytes = Number(values.mb) * 1024 * 1024
const work = await mkdtemp(join(tmpdir(), 'coglabel-weights-'))
const emulator = await startEmulatorProcess()
try {
  const manifest = await writeCompiledFolder(join(work, 'model'), { 'decoder.weights': sizeBytes })
  const { queueUrl: _, ...connection } = emulator.connection
  const s3 = (prefix: string) =>
    openS3Store({ bucket: 'labels', prefix, forcePathStyle: true, ...connection })
  const ends: [string, (prefix: string) => ObjectStore][] = [
    ['folder', (prefix) => openFsStore(join(work, 'pushed', prefix))],
    ['emulator', s3],
  ]
  const rows: { measure: string; mbPerSecond: number[] }[] = [{ measure: 'sha256 alone', mbPerSecond: [] }]
  for (const [name, open] of ends) {
    const pushed = {
      measure: `push, ${name}`,
      mbPerSecond: [
        await timed(async () => {
          await pushModel({ folder: join(work, 'model'), manifest, store: open('') })
        }),
      ],
    }
    const fetched = { measure: `fetch, ${name}`, mbPerSecond: [] as number[] }
    rows.push(pushed, fetched)
    for (let repeat = 0; repeat < Number(values.repeats); repeat += 1) {
      const scratchFolder = join(work, `scratch-${name}-${repeat}`)
      const store = open(`${manifest.digest}/`)
      fetched.mbPerSecond.push(await timed(async () => void (await fetchWeights({ store, scratchFolder }))))
      rows[0]?.mbPerSecond.push(
        await timed(async () => {
          createHash('sha256')
            .update(await readFile(join(work, 'model', 'decoder.weights')))
            .digest()
        }),
      )
      await rm(scratchFolder, { recursive: true })
    }
  }
  for (const { measure, mbPerSecond } of rows) {
    const sorted = mbPerSecond.toSorted((left, right) => left - right)
    const median = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
    console.log(
      JSON.stringify({
        measure,
        sizeMb: sizeBytes / 1e6,
        repeats: sorted.length,
        medianMbPerSecond: Math.round(median),
      }),
    )
  }
} finally {
  await emulator.close()
  await rm(work, { recursive: true, force: true })
}

/** Megabytes (10^6) a second. */
async function timed(act: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await act()
  return sizeBytes / 1000 / (performance.now() - startMs)
}
