// The process that tries a device: it tells its parent why it cannot be used, or null, and ends.
import { z } from 'zod'
import { Target } from '../../schemas/model-manifest.ts'
import { tryDevice } from './session.ts'

const device = z.enum(Target.options).parse(process.argv[2])
const reason = await tryDevice(device).then(
  () => null,
  (error: unknown) => (error instanceof Error ? error.message : String(error)),
)
process.send?.(reason, () => process.disconnect())
