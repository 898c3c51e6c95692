// The command line of `coglabel label`, parsed once into plain settings. It does not know how they are used.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { defaultHealthLimits, type HealthLimits, healthRates } from '../dataset/checks/health.ts'
import { UserError } from '../schemas/errors.ts'
import { DedupeKind, type InputRules } from '../schemas/input-rules.ts'
import { FailureCode } from '../schemas/failure.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { readChoice, readNumber } from './flag-values.ts'
import type { LabelLimits } from './label-stop.ts'
import { type DecodeFlags, decodeOptions, decodeUsage, readDecodeFlags } from './decode-flags.ts'
import { type CacheFlags, cacheOptions, cacheUsage, readCacheFlags } from './cache-flags.ts'
import { type ModelFlags, modelOptions, modelUsage, readModelFlags } from './model-flags.ts'

export const labelUsage = `coglabel label SRC --out DIR [options]

Labels images with a model. SRC is a folder (searched recursively), one image, or a .jsonl manifest with a line
{"image": "relative/path.jpg"} for each image, and "questions": [...] or "phrases": [...] for qa and ground to ask
about that image. DIR becomes a run folder; DIR/labels.jsonl holds one line for each image and task. The same command
continues a run that was interrupted, and does nothing that is already done.

  --out DIR              where the run is kept (needed)
${modelUsage}
${askUsage}
  --limit N              only the first N images
  --retry-failed[=CODE]  label anew what failed; =CODE,CODE only with these codes (engine-crashed, timed-out, …)
  --max-images N         stop cleanly when this command has labelled N images
  --max-minutes M        … or for M minutes
  --max-cost USD         … or for so much money, with --hour-cost
  --hour-cost USD        what an hour of this machine costs; run.json then has what the run did
  --plan FILE            what coglabel plan --save wrote; run.json compares it with what comes
  --dedupe exact|near    leave out images whose bytes, or looks, the source has already; found before the first is asked
  --min-side N           leave out images with fewer pixels along a side
  --max-aspect R         leave out images that are more than R times as long as wide, or wide as long
  --skip-blank           leave out images of hardly more than one colour
  --health off|a=b,…     when the run pauses, by what checks find in the last window=200 records, as shares:
                         ${describeHealth()}
${decodeUsage}
${cacheUsage}
  --yes                  use DIR even when it holds other files

DIR/run.json says how it went, planned against actual. Interrupt once to finish what is under way, twice to stop.

Exit code: 0 all done, 1 fatal, 2 wrong usage or settings, 3 done with failed records, 4 stopped by a limit,
5 paused because of what checks found (--health), 130 interrupted. After 4, 5 and 130 the same command goes on.`

export type LabelFlags = AskFlags & {
  src: string
  out: string
  model: ModelFlags
  /** Only the first of the source. */
  firstImages: number | undefined
  limits: LabelLimits
  /** Failed records to label anew: with these codes, or 'all'; null for none. */
  retry: ReadonlySet<FailureCode> | 'all' | null
  planPath: string | undefined
  /** Images that are not asked about; undefined for all. */
  input: InputRules | undefined
  /** Null does not watch. */
  health: HealthLimits | null
  isYes: boolean
  keyValueCache: CacheFlags
  decode: DecodeFlags
}

/** Parses the arguments after `label`. Throws UserError that says what is wrong, and for --help null is returned. */
export function parseLabelFlags(args: readonly string[]): LabelFlags | null {
  const { values, positionals } = readArgs(args)
  if (values.help === true) return null
  const [src, ...rest] = positionals
  if (src === undefined)
    throw new UserError('label needs a source: coglabel label SRC --out DIR; see coglabel label --help')
  if (rest.length > 0)
    throw new UserError(
      `label takes one source, but there is also "${rest.join('" "')}"; give their common folder or a manifest`,
    )
  if (values.out === undefined || values.out === '')
    throw new UserError(`label needs a place for the labels: coglabel label ${src} --out DIR`)
  return {
    src,
    out: values.out,
    model: readModelFlags(values),
    ...readAskFlags(values),
    firstImages: readNumber('--limit', values.limit, z.int().min(1)),
    limits: readLimits(values),
    retry: readRetry(values['retry-failed']),
    planPath: values.plan,
    input: readInputRules(values),
    health: readHealth(values.health),
    isYes: values.yes === true,
    keyValueCache: readCacheFlags(values),
    decode: readDecodeFlags(values),
  }
}

type InputValues = { [name in 'dedupe' | 'min-side' | 'max-aspect']?: string | undefined } & {
  'skip-blank'?: boolean | undefined
}

function readInputRules(values: InputValues): InputRules | undefined {
  const dedupe = readChoice('--dedupe', values.dedupe, DedupeKind.options)
  const minSide = readNumber('--min-side', values['min-side'], z.int().positive())
  const maxAspect = readNumber('--max-aspect', values['max-aspect'], z.number().min(1))
  const rules: InputRules = {
    ...(minSide === undefined ? {} : { minSide }),
    ...(maxAspect === undefined ? {} : { maxAspect }),
    ...(values['skip-blank'] === true ? { blank: true } : {}),
    ...(dedupe === undefined ? {} : { dedupe }),
  }
  return Object.keys(rules).length === 0 ? undefined : rules
}

function describeHealth(): string {
  return Object.entries(defaultHealthLimits.most)
    .map(([name, most]) => `${name}=${most}`)
    .join(' ')
}

function readHealth(text: string | undefined): HealthLimits | null {
  if (text === 'off') return null
  const limits = { window: defaultHealthLimits.window, most: { ...defaultHealthLimits.most } }
  for (const pair of text === undefined ? [] : text.split(',')) {
    const [name = '', value = ''] = pair.trim().split('=')
    const rate = healthRates.find((known) => known === name)
    const number = readNumber(
      `--health ${name}`,
      value,
      name === 'window' ? z.int().min(10).max(100_000) : z.number().min(0),
    )
    if (rate !== undefined && number !== undefined) limits.most[rate] = number
    else if (name === 'window' && number !== undefined) limits.window = number
    else throw new UserError(`--health has "${pair}"; expected off, window=N or one of ${describeHealth()}`)
  }
  return limits
}

type LimitValues = { [name in 'max-images' | 'max-minutes' | 'max-cost' | 'hour-cost']?: string | undefined }

function readLimits(values: LimitValues): LabelLimits {
  const positive = z.number().positive()
  const limits = {
    maxImages: readNumber('--max-images', values['max-images'], z.int().min(1)),
    maxMinutes: readNumber('--max-minutes', values['max-minutes'], positive),
    maxCostUsd: readNumber('--max-cost', values['max-cost'], positive),
    hourUsd: readNumber('--hour-cost', values['hour-cost'], positive),
  }
  if (limits.maxCostUsd !== undefined && limits.hourUsd === undefined)
    throw new UserError(
      '--max-cost needs to know what time costs: give --hour-cost USD, of an hour of this machine',
    )
  return limits
}

function readRetry(text: string | undefined): LabelFlags['retry'] {
  if (text === undefined) return null
  if (text === 'all') return 'all'
  const codes = text.split(',').map((code) => FailureCode.safeParse(code.trim()))
  if (codes.every((code) => code.success)) return new Set(codes.map(({ data }) => data))
  throw new UserError(
    `--retry-failed=${text} names no failure; give some of ${FailureCode.options.join(', ')}`,
  )
}

/** A flag that may stand alone is to parseArgs one with a value. */
function withRetryValue(args: readonly string[]): string[] {
  return args.map((arg) => (arg === '--retry-failed' ? '--retry-failed=all' : arg))
}

function readArgs(args: readonly string[]) {
  return parseArgs({
    args: withRetryValue(args),
    allowPositionals: true,
    options: {
      ...askOptions,
      ...modelOptions,
      'out': { type: 'string' },
      'health': { type: 'string' },
      'dedupe': { type: 'string' },
      'min-side': { type: 'string' },
      'max-aspect': { type: 'string' },
      'skip-blank': { type: 'boolean' },
      'limit': { type: 'string' },
      'retry-failed': { type: 'string' },
      'max-images': { type: 'string' },
      'max-minutes': { type: 'string' },
      'max-cost': { type: 'string' },
      'hour-cost': { type: 'string' },
      'plan': { type: 'string' },
      ...cacheOptions,
      ...decodeOptions,
      'yes': { type: 'boolean' },
      'help': { type: 'boolean', short: 'h' },
    },
  })
}
