// Short storms: over the sealed records nothing is missing, nothing doubled, and every failure has a name.
// bench/chaos.ts runs long ones.
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeStorm, runStorm } from './storm.ts'

test.each([
  ['folder', 1],
  ['folder', 2],
  ['emulator', 3],
] as const)(
  'loses and doubles nothing over %s (seed %i)',
  async (kind, seed) => {
    // Seconds on a machine that has nothing else to do.
    const folder = await mkdtemp(join(tmpdir(), 'coglabel-chaos-'))
    const report = await runStorm({ kind, seed, folder })
    console.log(describeStorm(report))
    expect(report.violations).toEqual([])
    expect(report.killed).toBeGreaterThan(4)
    expect(report.frozen).toBe(2)
  },
  600_000,
)
