// Whether this machine can run a model on a device, and what to do where it cannot. A device that is asked for is used
// or refused: nothing moves to the CPU in silence. It does not know models.
import { createRequire } from 'node:module'
import { UserError } from '../../schemas/errors.ts'
import type { Target } from '../../schemas/model-manifest.ts'
import { startProcess } from '../process/start-process.ts'

export type Device = Target

/** In the order in which `auto` looks at them. */
export const devices = ['cuda', 'webgpu', 'cpu'] as const satisfies readonly Device[]

/** What stands in the way of a device on this machine, and what to do about it; null where nothing does. */
export async function deviceProblem(device: Device): Promise<string | null> {
  if (device === 'cpu') return null
  const { platform, arch } = process
  const reason = device === 'cuda' && `${platform}-${arch}` !== 'linux-x64' ? '' : await tryInProcess(device)
  return reason === null
    ? null
    : explainDevice(device, { reason, platform, arch, installer: installerPath() })
}

/** Throws UserError that says what is missing and how to get it. */
export async function requireDevice(device: Device): Promise<void> {
  const problem = await deviceProblem(device)
  if (problem !== null)
    throw new UserError(`--device ${device} cannot be used: ${problem}; or give --device cpu`)
}

type Seen = { reason: string; platform: string; arch: string; installer: string }

/** Pure. The runtime has no error codes; its words of 1.30 are matched, others are passed on. */
export function explainDevice(
  device: Exclude<Device, 'cpu'>,
  { reason, platform, arch, installer }: Seen,
): string {
  const said = reason.replaceAll(/\s+/g, ' ').trim().slice(0, 300)
  if (device === 'webgpu' && /adapter|vulkan/i.test(said))
    return 'no GPU with a driver for Vulkan (or Metal) was found; on Linux install libvulkan1 and the driver of the GPU, in a container pass the GPU on'
  if (device === 'webgpu') return `the runtime says "${said}"`
  if (`${platform}-${arch}` !== 'linux-x64')
    return `the runtime has CUDA for Linux on x64 only, and this is ${platform} on ${arch}`
  if (/failed to load shared library/i.test(said))
    return (
      "onnxruntime-node's CUDA libraries are not there, or CUDA 12 and cuDNN 9 are not: npm ci leaves them out; " +
      `fetch them with "node ${installer} --onnxruntime-node-install", and see that the loader finds CUDA 12 and cuDNN 9 (LD_LIBRARY_PATH)`
    )
  return `the runtime says "${said}"; see nvidia-smi for the driver, and LD_LIBRARY_PATH for CUDA 12 and cuDNN 9`
}

/** The script that npm would run at install, were scripts not switched off. */
function installerPath(): string {
  return createRequire(import.meta.url).resolve('onnxruntime-node/script/install.js')
}

/** A first use of a GPU compiles and loads for seconds; longer than this is a driver that hangs. */
const maxTryMs = 120_000

/** Runs one addition on the device, in a process of its own: a driver may take its process with it. */
async function tryInProcess(device: Device): Promise<string | null> {
  const child = startProcess('device-process', {
    module: import.meta,
    args: [device],
    // A driver that hangs hears of no channel, so Ctrl-C shall end it.
    detached: false,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    timeout: maxTryMs,
  })
  return await new Promise((resolve) => {
    child.on('message', (reason: string | null) => resolve(reason))
    child.on('error', (error) => resolve(error.message))
    child.on('exit', (code, signal) => resolve(`the process that tried it ended with ${signal ?? code}`))
  })
}
