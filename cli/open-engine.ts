// From a model's flags to an engine: a compiled model in a process of its own, or a server that somebody else runs.
import type { Engine } from '../gpu-worker/engine/contract.ts'
import { openEndpoint } from '../gpu-worker/engine/endpoint/endpoint.ts'
import { listAbilities } from '../gpu-worker/tasks/registry.ts'
import { type ModelFlags, readEndpointKey } from './model-flags.ts'
import { openEngineForModel, type OpenModelOptions } from './open-model.ts'

export type OpenEngineOptions = ModelFlags & Pick<OpenModelOptions, 'onCompile'>

/** Opens what the flags name. Throws UserError when it cannot be used. */
export async function openChosenEngine({ endpoint, ...options }: OpenEngineOptions): Promise<Engine> {
  if (endpoint === null) return await openEngineForModel(options)
  const { keyFile, ...settings } = endpoint
  const key = readEndpointKey(keyFile, process.env)
  return await openEndpoint({ ...settings, key, capabilities: listAbilities() })
}
