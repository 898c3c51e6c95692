// Opens a pool of decoders, prepares an image and prints the number of the process that did: for tests that end this one.
// With `busy`, that process has a second image under way.
import { openDecoderPool } from '../../gpu-worker/image/decoder-pool.ts'
import { defaultDecodeLimits as limits } from '../../gpu-worker/image/decode.ts'
import { numberedPng, slowPng } from './images.ts'

const pool = openDecoderPool({ processes: 1 })
await pool.prepare(numberedPng(1), { limits })
if (process.argv[2] === 'busy') void pool.prepare(slowPng(), { limits })
console.log(pool.processIds[0])
