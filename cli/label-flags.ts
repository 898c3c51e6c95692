// The command line of `coglabel label`, parsed once into plain settings. It does not know how they are used.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import type { HealthLimits } from '../schemas/health.ts'
import { describeHealth, readHealth } from './health-flag.ts'
import { UserError } from '../schemas/errors.ts'
import type { InputRules } from '../schemas/input-rules.ts'
import { FailureCode } from '../schemas/failure.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { needText, readNumber } from './flag-values.ts'
import { inputOptions, inputUsage, readInputRules } from './input-flags.ts'
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
${inputUsage}
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
  const out = needText(values.out, `label needs a place for the labels: coglabel label ${src} --out DIR`)
  return {
    src,
    out,
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
      ...inputOptions,
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
