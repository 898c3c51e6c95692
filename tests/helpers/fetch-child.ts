// Fetches a pushed model, slowly, in a process of its own that tests can kill or starve.
// Usage: node fetch-child.ts PUSHED_FOLDER SCRATCH DELAY_MS RANGE_BYTES
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultFetchLimits, fetchWeights } from '../../dataset/fetch-weights.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { UserError } from '../../schemas/errors.ts'

const [pushed = '', scratchFolder = '', delayMs = '0', rangeBytes = '1000'] = process.argv.slice(2)
const store = openFsStore(pushed)
const slow: typeof store = {
  ...store,
  async getRange(key, range) {
    await sleep(Number(delayMs))
    console.log(key)
    return await store.getRange(key, range)
  },
}
try {
  const limits = { ...defaultFetchLimits, rangeBytes: Number(rangeBytes), rangesInFlight: 2 }
  console.log(JSON.stringify(await fetchWeights({ store: slow, scratchFolder, limits })))
} catch (error) {
  console.error(error instanceof UserError ? error.message : error)
  process.exitCode = error instanceof UserError ? 2 : 1
}
