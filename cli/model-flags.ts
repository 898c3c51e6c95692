// The flags that say which model answers and where it runs, the same for every verb that opens one. Parsed once into
// plain settings; keys are not among them.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { boxDialects } from '../gpu-worker/engine/endpoint/box-dialects.ts'
import {
  defaultConcurrency,
  defaultMaxPixels,
  defaultTimeoutMs,
} from '../gpu-worker/engine/endpoint/endpoint.ts'
import { UserError } from '../schemas/errors.ts'
import { reasonOf } from './explain-error.ts'
import { readChoice, readNumber } from './flag-values.ts'
import type { DeviceChoice } from './choose-device.ts'

/** For parseArgs, of verbs that say which model others ask. */
export const endpointOptions = {
  'endpoint': { type: 'string' },
  'endpoint-model': { type: 'string' },
  'endpoint-boxes': { type: 'string' },
  'endpoint-key-file': { type: 'string' },
  'endpoint-pixels': { type: 'string' },
} as const

/** For parseArgs. */
export const modelOptions = {
  'model': { type: 'string' },
  'device': { type: 'string' },
  ...endpointOptions,
  'endpoint-concurrency': { type: 'string' },
  'endpoint-timeout': { type: 'string' },
} as const

/** Lines of a usage text. */
export const modelUsage = `  --model DIR            a compiled model or a checkpoint folder (the model that comes with coglabel)
  --device DEVICE        cpu, cuda or webgpu, and no other; auto takes the first of cuda, webgpu, cpu that is there
                         and says which (cpu). On webgpu a token took 10 ms or more: small models are faster on the cpu
  --endpoint URL         in its place, a server that speaks OpenAI's chat completions: http://127.0.0.1:8000/v1.
                         Images are sent to it. Its key, if it wants one, comes from COGLABEL_ENDPOINT_KEY
  --endpoint-key-file F  … or from a file
  --endpoint-model NAME  as the server calls it (its only one)
  --endpoint-boxes HOW   how that model writes boxes: ${boxDialects
    .slice(0, 5)
    .map(({ name }) => name)
    .join(', ')},
                         ${boxDialects
                           .slice(5)
                           .map(({ name }) => name)
                           .join(', ')} or none (by its name)
  --endpoint-concurrency N  requests at a time (${defaultConcurrency})
  --endpoint-timeout S   seconds that one try may take (${defaultTimeoutMs / 1000})
  --endpoint-pixels N    larger images are made smaller before they are sent (${defaultMaxPixels})`

export type ModelFlags = {
  modelFolder: string | undefined
  device: DeviceChoice
  endpoint: EndpointFlags | null
}

export type EndpointFlags = {
  url: string
  model: string | undefined
  boxes: string | undefined
  keyFile: string | undefined
  concurrency: number | undefined
  timeoutMs: number | undefined
  maxPixels: number | undefined
}

const Choice = z.enum(['cpu', 'cuda', 'webgpu', 'auto'])

/** Flags of other files that say how a model is run here. */
const localFlags = ['device', 'kv', 'kv-memory', 'low-memory'] as const

type Values = { [name in keyof typeof modelOptions | 'kv' | 'kv-memory']?: string | undefined } & {
  'low-memory'?: boolean | undefined
}

/** Which model, from the values of parseArgs. Throws UserError that says which flag is wrong. */
export function readModelFlags(values: Values): ModelFlags {
  const { model, device, endpoint: url } = values
  const lone = Object.keys(values).find((name) => name.startsWith('endpoint-'))
  if (url === undefined && lone !== undefined)
    throw new UserError(`--${lone} is about another server; add --endpoint URL`)
  if (url === undefined)
    return {
      modelFolder: model,
      device: readChoice('--device', device, Choice.options) ?? 'cpu',
      endpoint: null,
    }
  const local = localFlags.find((name) => values[name] !== undefined)
  if (local !== undefined)
    throw new UserError(`--${local} is about this machine and --endpoint about another; leave one out`)
  if (model !== undefined)
    throw new UserError(
      '--model is run here and --endpoint elsewhere; leave one out (--endpoint-model names a model of the server)',
    )
  const seconds = readNumber(
    '--endpoint-timeout',
    values['endpoint-timeout'],
    z.number().positive().max(86_400),
  )
  return {
    modelFolder: undefined,
    device: 'cpu',
    endpoint: {
      url,
      model: values['endpoint-model'],
      boxes: values['endpoint-boxes'],
      keyFile: values['endpoint-key-file'],
      concurrency: readNumber(
        '--endpoint-concurrency',
        values['endpoint-concurrency'],
        z.int().min(1).max(256),
      ),
      timeoutMs: seconds === undefined ? undefined : seconds * 1000,
      maxPixels: readNumber(
        '--endpoint-pixels',
        values['endpoint-pixels'],
        z.int().min(3136).max(100_000_000),
      ),
    },
  }
}

/** The key of the file, or else of the environment. Throws UserError when the file cannot be read. */
export function readEndpointKey(
  keyFile: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (keyFile === undefined) return environment['COGLABEL_ENDPOINT_KEY']
  try {
    return readFileSync(keyFile, 'utf8')
  } catch (error) {
    throw new UserError(`--endpoint-key-file ${keyFile} cannot be read: ${reasonOf(error)}`, { cause: error })
  }
}
