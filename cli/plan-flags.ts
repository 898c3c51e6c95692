// The command line of `coglabel plan`, parsed once into plain settings. It does not know how they are used.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { type NetworkKind, networkKinds } from '../dataset/cost.ts'
import { UserError } from '../schemas/errors.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { type DecodeFlags, decodeOptions, decodeUsage, readDecodeFlags } from './decode-flags.ts'
import { readChoice, readNumber } from './flag-values.ts'
import { type ModelFlags, modelOptions, modelUsage, readModelFlags } from './model-flags.ts'

export const planUsage = `coglabel plan SRC [options]
coglabel plan SRC --cloud [options]
coglabel plan --cloud --images N [options]

Says what labelling SRC will take, and writes no labels: a few of its images, chosen by a seed, are labelled to measure.
Time and cost come as a middle and a range: low to high is the 95 % interval of this machine, and in the cloud what
spot prices, pauses and boots may make of it.

${modelUsage}
${askUsage}
${decodeUsage}
  --pilot N              measure on so many images (24)
  --pilot-minutes M      or on as many as M minutes allow (2)
  --pilot-seed N         another choice of images (0)
  --images N             as if there were so many images (those of SRC)
  --hour-cost USD        what an hour of this machine costs
  --save FILE            keep the plan; label and submit take it with --plan FILE

  --cloud                what the same comes to on GPU instances
  --rate R|here          images a second of one worker, measured; here: an instance is as fast as this machine.
                         Without, a yardstick stands in: CogVLM's own chat() on an A100, 0.40 answers a second
  --region REGION        whose prices (us-east-1)
  --instance TYPE        only this type (every one whose GPU holds the model)
  --max-workers N        at once (16)
  --compute KIND         instances or managed-instances, as deployed (instances)
  --network KIND         ${networkKinds.join(', ')}: decides the cost of an idle month (endpoints)
  --zones N              availability zones (2)
  --claims               with claims, as of submit
  --prices FILE          another table of prices (schemas/json/prices.schema.json)

Exit code: 0 planned, 1 fatal, 2 wrong usage or settings, 130 interrupted.`

export type PlanFlags = {
  src: string | undefined
  model: ModelFlags
  ask: AskFlags
  decode: DecodeFlags
  pilotImages: number
  pilotMinutes: number
  pilotSeed: number
  images: number | undefined
  hourUsd: number | undefined
  savePath: string | undefined
  cloud: CloudFlags | null
}

export type CloudFlags = {
  rate: number | 'here' | undefined
  region: string
  instance: string | undefined
  maxWorkers: number
  compute: 'instances' | 'managed-instances'
  network: NetworkKind
  zones: number
  hasClaims: boolean
  pricesPath: string | undefined
}

const cloudOptions = {
  'rate': { type: 'string' },
  'region': { type: 'string' },
  'instance': { type: 'string' },
  'max-workers': { type: 'string' },
  'compute': { type: 'string' },
  'network': { type: 'string' },
  'zones': { type: 'string' },
  'claims': { type: 'boolean' },
  'prices': { type: 'string' },
} as const

/** Parses the arguments after `plan`. Throws UserError that says what is wrong. */
export function parsePlanFlags(args: readonly string[]): PlanFlags {
  const { values, positionals } = readArgs(args)
  const [src, ...rest] = positionals
  if (rest.length > 0)
    throw new UserError(`plan takes one SRC, and was given ${positionals.length}; see coglabel plan --help`)
  const images = readNumber('--images', values.images, z.int().min(1))
  if (src === undefined && (values.cloud !== true || images === undefined))
    throw new UserError('plan needs a SRC to measure on, or --cloud --images N; see coglabel plan --help')
  const lone = Object.keys(cloudOptions).find((name) => name in values)
  if (lone !== undefined && values.cloud !== true)
    throw new UserError(`--${lone} is about the cloud; add --cloud`)
  const model = readModelFlags(values)
  if (values.cloud === true && model.endpoint !== null)
    throw new UserError(
      '--cloud plans workers that run the model themselves; leave --cloud or --endpoint out',
    )
  return {
    src,
    model,
    ask: readAskFlags(values),
    decode: readDecodeFlags(values),
    pilotImages: readNumber('--pilot', values.pilot, z.int().min(1).max(10_000)) ?? 24,
    pilotMinutes: readNumber('--pilot-minutes', values['pilot-minutes'], z.number().positive()) ?? 2,
    pilotSeed: readNumber('--pilot-seed', values['pilot-seed'], z.int()) ?? 0,
    images,
    hourUsd: readNumber('--hour-cost', values['hour-cost'], z.number().positive()),
    savePath: values.save,
    cloud: values.cloud === true ? readCloudFlags(values) : null,
  }
}

function readArgs(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...askOptions,
      ...modelOptions,
      ...decodeOptions,
      ...cloudOptions,
      'pilot': { type: 'string' },
      'pilot-minutes': { type: 'string' },
      'pilot-seed': { type: 'string' },
      'images': { type: 'string' },
      'hour-cost': { type: 'string' },
      'save': { type: 'string' },
      'cloud': { type: 'boolean' },
    },
  })
}

function readCloudFlags(values: ReturnType<typeof readArgs>['values']): CloudFlags {
  const { rate } = values
  return {
    rate: rate === 'here' ? rate : readNumber('--rate', rate, z.number().positive()),
    region: values.region ?? 'us-east-1',
    instance: values.instance,
    maxWorkers: readNumber('--max-workers', values['max-workers'], z.int().min(1).max(1000)) ?? 16,
    compute: readChoice('--compute', values.compute, ['instances', 'managed-instances']) ?? 'instances',
    network: readChoice('--network', values.network, networkKinds) ?? 'endpoints',
    zones: readNumber('--zones', values.zones, z.int().min(1).max(6)) ?? 2,
    hasClaims: values.claims === true,
    pricesPath: values.prices,
  }
}
