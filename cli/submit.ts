// `coglabel submit`: a run is written to a place and its images are asked for. Workers do the rest.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import type { ImageSource } from '../dataset/ingest.ts'
import { keepEstimate } from '../dataset/run-estimate.ts'
import { planRun } from '../dataset/plan.ts'
import { openShards, uploadPrefix } from '../dataset/plan-sources.ts'
import type { Place } from '../dataset/place.ts'
import { openRun, wantedRunId, type WantedRun } from '../dataset/run-folder.ts'
import { checkRunList, writeRunList } from '../dataset/run-list.ts'
import { uploadImages, type UploadTally } from '../dataset/upload.ts'
import { countItemRecords } from '../gpu-worker/tasks/registry.ts'
import { askedRun } from './asked-run.ts'
import { UserError } from '../schemas/errors.ts'
import type { HealthSetting } from '../schemas/health.ts'
import type { InputRules } from '../schemas/input-rules.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { RunId } from '../schemas/work-message.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { chooseEndpoint, type ChosenModel, chooseModel } from './choose-model.ts'
import { readNumber } from './flag-values.ts'
import { describeHealth, healthOption, readHealthSetting } from './health-flag.ts'
import { endpointOptions, type EndpointFlags, readModelFlags } from './model-flags.ts'
import { readEstimate } from './run-report.ts'
import { inputOptions, inputUsage, readSharedInputRules } from './input-flags.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { openSubmitSource, standingSource, type SubmitSource } from './submit-source.ts'
import { startTicker, type VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const submitUsage = `coglabel submit SRC --place URI [options]
coglabel submit --standing --place URI [options]

Begins a run at a place and asks its workers for the labels. SRC is a folder, an image or a .jsonl manifest of this
machine, which is uploaded; or s3://bucket/prefix, or a folder below buckets/ of a place that is a folder, which stays
where it is; or a list of keys in a bucket: .jsonl, .csv (also .gz), or the manifest.json of an S3 Inventory. A line of
JSON may have questions, phrases and other fields for its image, as for coglabel label. The same command goes on with
what was interrupted, and asks for nothing twice.

  --standing             label whatever is uploaded from now on, instead of SRC
${placeUsage}
  --model DIR|DIGEST     a compiled model or a checkpoint folder, or the digest of a pushed model (the one that ships)
  --endpoint URL         in its place, a server that the workers ask (COGLABEL_MODEL of theirs), and send images to
  --endpoint-model NAME  as the server calls it; without, the server is asked from here which it has
                         (--endpoint-boxes, --endpoint-pixels, --endpoint-key-file: as for coglabel label)
  --grounding DIR|DIGEST a second model, for tasks of the role grounding
${askUsage}
  --run NAME             the run's id (derived from everything above)
  --dedupe exact         leave out images whose bytes the run has already, whichever worker saw them
${inputUsage}
  --claims               workers claim an image before they label it: for events that come again and again
  --health off|a=b,…     when the run pauses, by what checks find in the last window=200 records or more, as shares:
                         ${describeHealth()}
  --cost-cap USD         ask for no capacity beyond this spend; needs workerHourUsd in the deployment's settings
  --plan FILE            what coglabel plan --cloud --save wrote; status compares the run with it

Exit code: 0 all is asked for, 1 fatal, 2 wrong usage or settings, 130 interrupted: the same command goes on.`

type SubmitFlags = AskFlags & {
  src: string | undefined
  model: string | undefined
  endpoint: EndpointFlags | null
  grounding: string | undefined
  runId: string | undefined
  health: HealthSetting | undefined
  input: InputRules | undefined
  costCapUsd: number | undefined
  hasClaims: boolean
  planPath: string | undefined
}

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runSubmit(args: readonly string[], root: VerbRoot): Promise<number> {
  const { flags, place: placeFlags } = parseSubmitFlags(args)
  const place = await openPlaceOf(placeFlags)
  try {
    return await submit(flags, { place, root })
  } finally {
    place.close()
  }
}

async function submit(
  flags: SubmitFlags,
  { place, root }: { place: Place; root: VerbRoot },
): Promise<number> {
  checkCap(flags, place)
  const { source, upload, brings } =
    flags.src === undefined ? standingSource(place) : await openSubmitSource(flags.src, place)
  const { notice, ...chosen } = await chooseAnswerer(flags, place)
  if (notice !== undefined) root.tell(`of the workers: ${notice}`)
  const grounding = flags.grounding === undefined ? null : await chooseModel(flags.grounding, place)
  const wanted = wantedRun(flags, { source, chosen, grounding, ...(brings === undefined ? {} : { brings }) })
  const runId = flags.runId ?? wantedRunId(wanted)
  const estimate = flags.planPath === undefined ? null : await readEstimate(flags.planPath)
  const store = place.runStoreOf(runId)
  const config = await openRun(store, { wanted, now: root.clock(), runId })
  if (estimate !== null) await keepEstimate(store, estimate)
  const interrupted = new AbortController()
  const silence = root.onInterrupt(() => interrupted.abort())
  try {
    const lines =
      source.kind === 'standing'
        ? [`upload images to ${source.uri}${uploadPrefix(runId)}`]
        : await askForAll({ config, upload, place, root, stop: interrupted.signal })
    if (interrupted.signal.aborted) {
      root.tell('interrupted; the same command goes on from here')
      return 130
    }
    const hints = [chosen, grounding].flatMap((one) => (one === null ? [] : pushHint(one, place)))
    root.print([`run ${runId} at ${place.uri}`, ...lines, ...hints].join('\n'))
    return 0
  } finally {
    silence()
  }
}

/** A cap that nothing is counted against would be no cap. */
function checkCap({ costCapUsd }: SubmitFlags, { deployment, uri }: Place): void {
  if (costCapUsd === undefined || deployment?.workerHourUsd !== undefined) return
  throw new UserError(
    `--cost-cap ${costCapUsd} cannot be kept: ${uri} does not say what an hour of a worker costs; ` +
      'set workerHourUsd in the settings of the deployment (infra/README.md) and deploy it, or leave the cap out',
  )
}

/** The model of a compiled folder, of the place, or of a server. */
async function chooseAnswerer(
  { model, endpoint }: SubmitFlags,
  place: Place,
): Promise<ChosenModel & { notice?: string | undefined }> {
  return endpoint === null ? await chooseModel(model, place) : await chooseEndpoint(endpoint)
}

type Ask = {
  config: RunConfig
  upload: SubmitSource['upload']
  place: Place
  root: VerbRoot
  stop: AbortSignal
}

/** Uploads what has to be, then plans; returns what there is to say about it. */
async function askForAll({ config, upload, place, root, stop }: Ask): Promise<string[]> {
  const { runId } = config
  const lines: string[] = []
  const ticker = startTicker(root)
  if (upload !== null) {
    const onProgress = ({ images }: UploadTally) => ticker.show(`${counted(images, 'image')} uploaded`)
    lines.push(...(await uploadAll({ config, upload, place, stop, onProgress })))
  }
  const shards = await openShards(config, place)
  const progress = await planRun(shards, {
    runId,
    store: place.runStoreOf(runId),
    queue: place.queueOf(runId),
    clock: root.clock,
    countRecords: config.itemTasks && ((image) => countItemRecords(config, image)),
    stop,
    onProgress: ({ images }) => ticker.show(`${counted(images, 'image')} asked for`),
  })
  ticker.end()
  if (progress.images === 0 && progress.isComplete)
    throw new UserError(`no images at ${config.source.uri}; the run ${runId} is there, and labels nothing`)
  lines.push(`asked for ${counted(progress.images, 'image')} in ${counted(progress.messages, 'message')}`)
  return [...lines, ...skippedLines(progress.skipped)]
}

type UploadAll = Pick<Ask, 'config' | 'place' | 'stop'> & {
  upload: ImageSource
  onProgress: (tally: UploadTally) => void
}

/** Images, and behind them the list that says what each brings: whoever finds the list finds its images. */
async function uploadAll({ config, upload, place, stop, onProgress }: UploadAll): Promise<string[]> {
  const { runId, source } = config
  const bucket = place.uploadBucket
  const prefix = uploadPrefix(runId, source.kind)
  const list = () => ({ items: upload.items(), store: place.runStoreOf(runId), bucket, prefix, stop })
  if (source.kind === 'manifest') await checkRunList(list())
  const store = place.imagesOf(bucket)
  const tally = await uploadImages({ source: upload, store, prefix, stop, onProgress })
  if (source.kind === 'manifest' && !stop.aborted) await writeRunList(list())
  return [
    `uploaded ${counted(tally.images - tally.known, 'image')}, ${tally.known} were there already`,
    ...skippedLines(tally.skipped),
  ]
}

function skippedLines(skipped: Readonly<Record<string, number>>): string[] {
  const reasons = Object.entries(skipped).map(([reason, count]) => `${count} ${reason}`)
  return reasons.length === 0 ? [] : [`left out: ${reasons.join(', ')}`]
}

function pushHint({ model, isPushed }: ChosenModel, { weights }: Place): string[] {
  if (isPushed) return []
  return [
    `the model ${model.name} is not at ${weights.uri}; workers that have no copy need coglabel push-model`,
  ]
}

type Models = Pick<SubmitSource, 'source' | 'brings'> & {
  chosen: ChosenModel
  grounding: ChosenModel | null
}

/** The settings of the run that the flags ask for. */
export function wantedRun(
  flags: AskFlags &
    Pick<SubmitFlags, 'costCapUsd' | 'hasClaims'> &
    Partial<Pick<SubmitFlags, 'health' | 'input'>>,
  { source, chosen, grounding, brings }: Models,
): WantedRun {
  const { hasClaims, costCapUsd, health, input } = flags
  const about = ({ model, template, capabilities }: ChosenModel) => ({
    name: model.name,
    template,
    capabilities,
  })
  const asked = askedRun(flags, {
    model: about(chosen),
    ...(grounding === null ? {} : { grounding: about(grounding) }),
    ...(brings === undefined ? {} : { brings }),
  })
  return {
    source,
    model: chosen.model,
    ...(grounding === null ? {} : { grounding: grounding.model }),
    template: chosen.template,
    ...(grounding === null || asked.itemTasks === undefined ? {} : { groundingTemplate: grounding.template }),
    ...asked,
    ...(input === undefined ? {} : { input }),
    ...(health === undefined ? {} : { health }),
    ...(hasClaims ? { claims: 'on' as const } : {}),
    ...(costCapUsd === undefined ? {} : { costCapUsd }),
  }
}

function parseSubmitFlags(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...askOptions,
      ...placeOptions,
      ...endpointOptions,
      ...healthOption,
      ...inputOptions,
      'standing': { type: 'boolean' },
      'model': { type: 'string' },
      'grounding': { type: 'string' },
      'run': { type: 'string' },
      'claims': { type: 'boolean' },
      'cost-cap': { type: 'string' },
      'plan': { type: 'string' },
    },
  })
  const isStanding = values.standing === true
  if (positionals.length !== (isStanding ? 0 : 1))
    throw new UserError(
      `submit takes one SRC or --standing, and was given ${positionals.length === 0 ? 'neither' : `"${positionals.join('" "')}"${isStanding ? ' with --standing' : ''}`}; see coglabel submit --help`,
    )
  if (values.run !== undefined && !RunId.safeParse(values.run).success)
    throw new UserError(
      `--run is "${values.run.slice(0, 120)}"; expected up to 100 letters, digits, dots, hyphens and underscores`,
    )
  const flags: SubmitFlags = {
    ...readAskFlags(values),
    src: positionals[0],
    model: values.model,
    endpoint: readModelFlags(values).endpoint,
    grounding: values.grounding,
    runId: values.run,
    health: readHealthSetting(values.health),
    input: readSharedInputRules(values),
    costCapUsd: readNumber('--cost-cap', values['cost-cap'], z.number().positive()),
    hasClaims: values.claims === true,
    planPath: values.plan,
  }
  return { flags, place: values }
}
