// The command line of `coglabel label`, parsed once into plain settings. It does not know how they are used.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags, readNumber } from './ask-flags.ts'
import { type CacheFlags, cacheOptions, cacheUsage, readCacheFlags } from './cache-flags.ts'

export const labelUsage = `coglabel label SRC --out DIR [options]

Labels images with a model. SRC is a folder (searched recursively), one image, or a .jsonl manifest with a line
{"image": "relative/path.jpg"} for each image, and "questions": [...] or "phrases": [...] for qa and ground to ask
about that image. DIR becomes a run folder; DIR/labels.jsonl holds one line for each image and task. The same command
continues a run that was interrupted, and does nothing that is already done.

  --out DIR              where the run is kept (needed)
  --model DIR            a compiled model or a checkpoint folder (the model that comes with coglabel)
${askUsage}
  --limit N              only the first N images
${cacheUsage}
  --yes                  use DIR even when it holds other files

Exit code: 0 all done, 1 fatal, 2 wrong usage or settings, 3 done with failed records, 130 interrupted.`

export type LabelFlags = AskFlags & {
  src: string
  out: string
  modelFolder: string | undefined
  maxImages: number | undefined
  isYes: boolean
  keyValueCache: CacheFlags
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
  if (values.out === undefined)
    throw new UserError(`label needs a place for the labels: coglabel label ${src} --out DIR`)
  return {
    src,
    out: values.out,
    modelFolder: values.model,
    ...readAskFlags(values),
    maxImages: readNumber('--limit', values.limit, z.int().min(1)),
    isYes: values.yes === true,
    keyValueCache: readCacheFlags(values),
  }
}

function readArgs(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...askOptions,
      out: { type: 'string' },
      model: { type: 'string' },
      limit: { type: 'string' },
      ...cacheOptions,
      yes: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
}
