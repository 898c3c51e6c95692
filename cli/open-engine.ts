// From a model's flags to an engine: a compiled model in a process of its own, or a server that somebody else runs.
import type { Engine } from '../gpu-worker/engine/contract.ts'
import { openEndpoint } from '../gpu-worker/engine/endpoint/endpoint.ts'
import { listAbilities } from '../gpu-worker/tasks/registry.ts'
import { chooseDevice } from './choose-device.ts'
import { type EndpointFlags, type ModelFlags, readEndpointKey } from './model-flags.ts'
import { openEngineForModel, type OpenModelOptions } from './open-model.ts'

export type OpenEngineOptions = ModelFlags & Pick<OpenModelOptions, 'onCompile' | 'keyValueCache'>

/** Opens what the flags name. Throws UserError when it cannot be used. */
export async function openChosenEngine({ endpoint, ...options }: OpenEngineOptions): Promise<Engine> {
  if (endpoint !== null) return await openFlaggedEndpoint(endpoint)
  const { device, notice } = await chooseDevice(options.device, options.modelFolder)
  const engine = await openEngineForModel({ ...options, device })
  const notices = [notice, engine.info.notice].filter((text) => typeof text === 'string')
  return notices.length === 0 ? engine : { ...engine, info: { ...engine.info, notice: notices.join('; ') } }
}

/** The server of the flags, with the key of this process's environment. */
export async function openFlaggedEndpoint({ keyFile, ...settings }: EndpointFlags): Promise<Engine> {
  const key = readEndpointKey(keyFile, process.env)
  return await openEndpoint({ ...settings, key, capabilities: listAbilities() })
}
