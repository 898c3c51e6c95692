// Long storms over the commit protocol: many seeds, more images and processes; prints a line a storm and a JSON line.
// Usage: node cli/launch.js bench/chaos.ts [--ports folder,emulator] [--seeds 1-20] [--images N] [--workers N]
//        [--sealers N] [--lives N] [--minutes N] [--gc SECONDS]     (exit code 1 when anything was lost, doubled or not named)
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeStorm, runStorm } from '../tests/chaos/storm.ts'

const { values } = parseArgs({
  options: {
    ports: { type: 'string', default: 'folder,emulator' },
    seeds: { type: 'string', default: '1-10' },
    images: { type: 'string', default: '400' },
    workers: { type: 'string', default: '4' },
    sealers: { type: 'string', default: '3' },
    lives: { type: 'string', default: '6' },
    minutes: { type: 'string', default: '30' },
    gc: { type: 'string' },
  },
})
const [first = 1, last = first] = values.seeds.split('-').map(Number)
const endMs = performance.now() + Number(values.minutes) * 60_000
let violations = 0
for (let seed = first; seed <= last && performance.now() < endMs; seed += 1) {
  for (const kind of (['folder', 'emulator'] as const).filter((name) =>
    values.ports.split(',').includes(name),
  )) {
    const report = await runStorm({
      kind,
      seed,
      folder: await mkdtemp(join(tmpdir(), 'coglabel-chaos-')),
      imageCount: Number(values.images),
      workers: Number(values.workers),
      sealers: Number(values.sealers),
      livesEach: Number(values.lives),
      gcAgeMs: values.gc === undefined ? null : Number(values.gc) * 1000,
    })
    violations += report.violations.length
    console.error(describeStorm(report))
    console.log(JSON.stringify(report))
  }
}
process.exitCode = violations === 0 ? 0 : 1
