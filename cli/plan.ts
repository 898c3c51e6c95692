// `coglabel plan`: what a run will take, before it is begun. A pilot is labelled and thrown away; the cloud is worked out
// from a rate and prices. It puts the pieces together and knows none of them closely.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fixedCosts, planCost } from '../dataset/cost.ts'
import { openSource } from '../dataset/ingest.ts'
import { openRun } from '../dataset/run-folder.ts'
import { openMemoryStore } from '../dataset/stores/memory.ts'
import { UserError } from '../schemas/errors.ts'
import { holdsModel } from '../schemas/instance-memory.ts'
import {
  type CloudEstimate,
  Estimate,
  type EstimateRange,
  estimateVersion,
  type PilotEstimate,
} from '../schemas/estimate.ts'
import { manifestFileName, ModelManifest } from '../schemas/model-manifest.ts'
import { askedRun } from './asked-run.ts'
import { compileNotice, type LabelRoot, refuseNothing, wantedLabelRun } from './label.ts'
import { costOf } from './label-stop.ts'
import { findCompiledModel } from './open-model.ts'
import { type CloudFlags, parsePlanFlags, type PlanFlags } from './plan-flags.ts'
import { type CloudTable, type Measured, renderCloud, renderPilot } from './plan-text.ts'
import { runPilot } from './pilot.ts'
import { datesOf, instancesOf, readPrices } from './prices.ts'
import { writeWhole } from './write-whole.ts'

/**
 * CogVLM's own chat() on an A100, in answers a second: 2.5 s for a caption (CogVLM issue 75). LOG.md projects less, from
 * parts of the model on WebGPU; workers run on CUDA, and this was measured there and of the whole model.
 */
const yardstickPerSecond = 0.4

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runPlan(args: readonly string[], root: LabelRoot): Promise<number> {
  const flags = parsePlanFlags(args)
  const measured = flags.src === undefined ? null : await measure(flags.src, flags, root)
  if (measured === 'stopped') return 130
  const images = flags.images ?? measured?.imageCount ?? 0
  const pilot = measured === null ? null : pilotEstimate(measured, images, flags.hourUsd)
  const lines = measured === null || pilot === null ? [] : renderPilot({ ...measured, images, pilot })
  const table = flags.cloud === null ? null : await planCloud(flags.cloud, { flags, images, measured, pilot })
  if (table !== null) lines.push(...(lines.length === 0 ? [] : ['']), ...renderCloud(table))
  const estimate = Estimate.parse({
    v: estimateVersion,
    createdAt: root.clock().toISOString(),
    images,
    recordsPerImage: measured === null ? null : measured.config.tasks.length,
    model: measured?.config.model ?? null,
    tasks: measured?.config.tasks.map(({ task }) => task) ?? [],
    pilot,
    cloud: table === null ? null : cloudEstimate(table),
  } satisfies Estimate)
  // Said first: what took minutes to measure is not lost with a file that cannot be written.
  root.print(lines.join('\n'))
  if (flags.savePath !== undefined) {
    await writeWhole(flags.savePath, `${JSON.stringify(estimate, null, 2)}\n`)
    root.print(`\nsaved to ${flags.savePath}: give it to label or submit with --plan, and they are compared`)
  }
  return 0
}

async function measure(src: string, flags: PlanFlags, root: LabelRoot): Promise<Measured | 'stopped'> {
  const source = await openSource(src)
  const scan = await source.scan()
  refuseNothing(src, scan)
  const loadStartMs = performance.now()
  const engine = await root.openEngine({ ...flags.model, onCompile: compileNotice(root) })
  const loadMs = performance.now() - loadStartMs
  const decoder = root.openDecoder(flags.decode.pool)
  if (engine.info.notice !== undefined) root.progress.write(`${engine.info.notice}\n`)
  const stop = new AbortController()
  const silence = root.onInterrupt(() => stop.abort())
  const { isTerminal, write } = root.progress
  try {
    const wanted = wantedLabelRun(flags.ask, { source, scan, engine })
    const config = await openRun(openMemoryStore('plan'), { wanted, now: root.clock() })
    const result = await runPilot({
      config,
      engine,
      decoder,
      limits: flags.decode.limits,
      source,
      imageCount: scan.images,
      sampleSize: flags.pilotImages,
      seed: flags.pilotSeed,
      maxMs: flags.pilotMinutes * 60_000,
      clock: root.clock,
      stop: stop.signal,
      onImage: (done) =>
        isTerminal && write(`\r\u001B[2Kpilot: ${done} of up to ${flags.pilotImages} images`),
    })
    if (isTerminal) write('\r\u001B[2K')
    if (result === null) return 'stopped'
    const facts = { src, config, engine: engine.info.engine, imageCount: scan.images }
    return { ...facts, loadMs, seed: flags.pilotSeed, result }
  } finally {
    silence()
    await Promise.all([engine.close(), decoder.close()])
  }
}

function pilotEstimate(
  { result, engine, loadMs, seed }: Measured,
  images: number,
  hourUsd: number | undefined,
): PilotEstimate {
  const durationMs = mapRange(result.imageMs, (ms) => ms * images)
  return {
    images: result.images,
    seed,
    failedRecords: result.records.filter(({ status }) => status === 'failed').length,
    engine,
    loadMs,
    imageMs: result.imageMs,
    durationMs,
    hourUsd: hourUsd ?? null,
    usd: hourUsd === undefined ? null : mapRange(durationMs, (ms) => costOf(ms, hourUsd) ?? 0),
  }
}

function mapRange({ low, mid, high }: EstimateRange, map: (value: number) => number): EstimateRange {
  return { low: map(low), mid: map(mid), high: map(high) }
}

type CloudFacts = {
  flags: PlanFlags
  images: number
  measured: Measured | null
  pilot: PilotEstimate | null
}

async function planCloud(
  cloud: CloudFlags,
  { flags, images, measured, pilot }: CloudFacts,
): Promise<CloudTable> {
  const prices = await readPrices(cloud.pricesPath)
  const manifest = await readModel(flags)
  const answers = countAnswers(measured, { manifest, flags })
  const { rateFrom, imagesPerSecond } = rateOf(cloud, { pilot, answers })
  const modelBytes = manifest?.files.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0
  const { maxWorkers, compute, hasClaims, network, zones } = cloud
  const isUpload = flags.src !== undefined
  const work = { images, imagesPerSecond, maxWorkers, compute, isUpload, hasClaims }
  const rows = instancesOf(prices, cloud.region)
    .filter((instance) => cloud.instance === undefined || instance.type === cloud.instance)
    .filter((instance) => holdsModel(instance, modelBytes))
    .map((instance) => ({
      instance,
      asOf: datesOf(prices, instance),
      cost: planCost(work, instance, prices.services),
    }))
    .toSorted((left, right) => left.cost.usd.mid - right.cost.usd.mid)
  const [chosen] = rows
  if (chosen === undefined)
    throw new UserError(
      cloud.instance === undefined
        ? `no instance in the prices of ${cloud.region} has the memory for a model of ${(modelBytes / 1e9).toFixed(1)} GB; compile it with --weights int4`
        : `${cloud.instance} has no price in ${cloud.region}, or has no memory for the model of ${(modelBytes / 1e9).toFixed(1)} GB`,
    )
  const fixed = fixedCosts({ network, zones, weightsBytes: modelBytes }, prices.services)
  return { ...work, region: cloud.region, rateFrom, answers, rows, chosen, fixed, modelBytes }
}

/** The rate of one worker: as given, as this machine's, or the yardstick shared among the answers of an image. */
function rateOf(
  { rate }: CloudFlags,
  { pilot, answers }: { pilot: PilotEstimate | null; answers: number },
): Pick<CloudTable, 'rateFrom' | 'imagesPerSecond'> {
  const exactly = (value: number) => ({ low: value, mid: value, high: value })
  if (typeof rate === 'number') return { rateFrom: 'given', imagesPerSecond: exactly(rate) }
  if (rate === undefined)
    return { rateFrom: 'yardstick', imagesPerSecond: exactly(yardstickPerSecond / answers) }
  if (pilot === null) throw new UserError('--rate here needs a SRC to measure on; give one, or --rate N')
  const { low, mid, high } = pilot.imageMs
  // Of a sample without spread, or one that saw hardly a millisecond.
  const perSecond = (ms: number) => 1000 / Math.max(ms, 0.01)
  return {
    rateFrom: 'pilot',
    imagesPerSecond: { low: perSecond(high), mid: perSecond(mid), high: perSecond(low) },
  }
}

/** What the compiled model is; null where none was named and no image asks for one. */
async function readModel({ src, model: { modelFolder } }: PlanFlags): Promise<ModelManifest | null> {
  if (src === undefined && modelFolder === undefined) return null
  const folder = await findCompiledModel({ modelFolder })
  return ModelManifest.parse(JSON.parse(await readFile(join(folder, manifestFileName), 'utf8')))
}

/** Prompts about an image: of the pilot's tasks, or of those that the flags would ask of the model. */
function countAnswers(
  measured: Measured | null,
  { manifest, flags }: { manifest: ModelManifest | null; flags: PlanFlags },
): number {
  const tasks =
    measured?.config.tasks ?? (manifest === null ? [] : askedRun(flags.ask, { model: manifest }).tasks)
  return Math.max(
    1,
    tasks.reduce((sum, { prompts }) => sum + prompts.length, 0),
  )
}

function cloudEstimate({ region, chosen, rateFrom, imagesPerSecond, fixed }: CloudTable): CloudEstimate {
  const { instance, cost, asOf } = chosen
  return {
    region,
    instance: instance.type,
    pricesAsOf: asOf,
    imagesPerSecond: imagesPerSecond.mid,
    rateFrom,
    workers: cost.workers,
    durationMs: cost.durationMs,
    workerHours: cost.workerHours,
    usd: cost.usd,
    fixedMonthUsd: fixed.reduce((sum, { monthUsd }) => sum + monthUsd, 0),
  }
}
