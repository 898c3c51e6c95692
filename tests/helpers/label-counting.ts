// `coglabel label` with the counting engine, as a process of its own that tests can kill.
// Usage: node label-counting.ts DELAY_MS SRC --out DIR …
import { runLabel } from '../../cli/label.ts'
import { processRoot } from '../../cli/label-root.ts'
import { UserError } from '../../schemas/errors.ts'
import { openCountingEngine } from './counting-engine.ts'

const [delayMs = '0', ...args] = process.argv.slice(2)

try {
  const openEngine = async () => openCountingEngine({ delayMs: Number(delayMs) })
  process.exitCode = await runLabel(args, { ...processRoot(), openEngine })
} catch (error) {
  console.error(error instanceof UserError ? `coglabel: ${error.message}` : error)
  process.exitCode = error instanceof UserError ? 2 : 1
}
console.error(`peak ${process.resourceUsage().maxRSS} KiB`)
