// Which device a model runs on: the one that was asked for or none, or with `auto` the first that this machine has, and
// then it is said which and why no other. It opens no model.
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Device, deviceProblem, devices, requireDevice } from '../gpu-worker/engine/device.ts'
import { UserError } from '../schemas/errors.ts'
import { manifestFileName, ModelManifest } from '../schemas/model-manifest.ts'

export type DeviceChoice = Device | 'auto'

export type ChosenDevice = {
  device: Device
  /** For people; null where there was no choice. */
  notice: string | null
}

/** Throws UserError when the device cannot be used, with what to do. */
export async function chooseDevice(
  choice: DeviceChoice,
  modelFolder: string | undefined,
): Promise<ChosenDevice> {
  if (choice !== 'auto') {
    await requireDevice(choice)
    return { device: choice, notice: null }
  }
  const target = modelFolder === undefined ? null : await readTarget(modelFolder)
  const problems: string[] = []
  for (const device of target === null ? devices : [target]) {
    const problem = await deviceProblem(device)
    const others = problems.length === 0 ? '' : ` (${problems.join('; ')})`
    if (problem === null) return { device, notice: `the model runs on ${device}${others}` }
    problems.push(`not on ${device}: ${problem}`)
  }
  throw new UserError(`${modelFolder} was compiled for one device, and runs ${problems.join('; ')}`)
}

/** What a compiled folder was compiled for; null for what is not compiled yet, or is no model at all. */
async function readTarget(modelFolder: string): Promise<Device | null> {
  const text = await readFile(join(resolve(modelFolder), manifestFileName), 'utf8').catch(() => null)
  if (text === null) return null
  try {
    return ModelManifest.pick({ target: true }).loose().parse(JSON.parse(text)).target
  } catch {
    // Opening the model says what is wrong with it.
    return null
  }
}
