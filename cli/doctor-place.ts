// The part of `coglabel doctor` that looks at a place: its stores, its queues, and the models that were pushed to it.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { listRuns, type Place } from '../dataset/place.ts'
import { readLock } from '../dataset/push-weights.ts'
import { readRun } from '../dataset/run-folder.ts'
import { listAll, listFolders, type ObjectStore } from '../dataset/stores/object-store.ts'
import { piecesOf, type WeightsLock, weightsLockKey } from '../schemas/weights-lock.ts'
import { chooseModel } from './choose-model.ts'
import { badFinding, type Finding } from './doctor-findings.ts'
import { counted } from './words.ts'

/** More runs than that are not asked for the model they want. */
const maxRuns = 200
const maxRunsNamed = 3

type PlaceOptions = {
  /** One that shall have been pushed. */
  model: string | undefined
  /** Of the account's settings. */
  region: string | undefined
}

/** Every finding about the place. */
export async function checkPlace(place: Place, { model, region }: PlaceOptions): Promise<Finding[]> {
  const { deployment } = place
  const imageBuckets = deployment?.imageBuckets ?? [place.uploadBucket]
  const findings: Finding[] = [
    await checkThere(place),
    ...regionFindings(place, region),
    await checkStore('labels', place.labels),
  ]
  for (const bucket of imageBuckets)
    findings.push(await checkStore(`images in ${bucket}`, place.imagesOf(bucket)))
  findings.push(await checkStore('weights', place.weights))
  findings.push(...(await checkQueues(place)))
  const pushed = await checkModels(place)
  findings.push(...pushed.findings)
  if (model !== undefined) findings.push(await checkWanted(place, model))
  return [...findings, ...(await checkRuns(place, pushed.digests))]
}

/** A folder is made by the first command that writes to it, so a slip of the pen would pass for an empty place. */
async function checkThere({ uri, deployment }: Place): Promise<Finding> {
  const saw = `${uri}${deployment === null ? '' : `, the deployment ${deployment.name}`}`
  if (!uri.startsWith('file:') || existsSync(fileURLToPath(uri))) return { what: 'place', state: 'ok', saw }
  return {
    what: 'place',
    state: 'warn',
    saw: `${saw} is not there yet`,
    todo: 'check its name; coglabel submit and push-model make it',
  }
}

/** Nothing where they agree, or nobody said. */
function regionFindings({ deployment }: Place, region: string | undefined): Finding[] {
  if (deployment === null || region === undefined || deployment.region === region) return []
  return [
    {
      what: 'region of the place',
      state: 'warn',
      saw: `${deployment.region}, and your AWS settings say ${region}`,
      todo: `give --region ${deployment.region}, for quotas and stacks are those of a region`,
    },
  ]
}

async function checkStore(what: string, store: ObjectStore): Promise<Finding> {
  try {
    await store.list({ prefix: '', limit: 1 })
    return { what, state: 'ok', saw: store.uri }
  } catch (error) {
    return badFinding(what, error)
  }
}

async function checkQueues({ queue, deadLetters, uri }: Place): Promise<Finding[]> {
  const findings: Finding[] = []
  try {
    const { visible, inFlight, delayed } = await queue.stats()
    const saw = `${counted(visible, 'message')} waiting, ${inFlight} with workers, ${delayed} delayed`
    findings.push({ what: 'queue', state: 'ok', saw })
  } catch (error) {
    findings.push(badFinding('queue', error))
  }
  try {
    const { visible, inFlight, delayed } = await deadLetters.stats()
    const count = visible + inFlight + delayed
    findings.push({
      what: 'dead letters',
      state: count === 0 ? 'ok' : 'warn',
      saw: counted(count, 'message'),
      ...(count === 0 ? {} : { todo: `coglabel redrive --place ${uri}` }),
    })
  } catch (error) {
    findings.push(badFinding('dead letters', error))
  }
  return findings
}

/** Every model that was pushed, and whether all of it is there. */
async function checkModels(place: Place): Promise<{ findings: Finding[]; digests: Set<string> }> {
  const digests = new Set<string>()
  const findings: Finding[] = []
  try {
    for await (const digest of listFolders(place.weights)) {
      if (!/^[0-9a-f]{64}$/.test(digest)) continue
      digests.add(digest)
      findings.push(await checkModel(place, digest))
    }
    if (digests.size === 0)
      findings.push({
        what: 'models',
        state: 'warn',
        saw: `none was pushed to ${place.weights.uri}`,
        todo: `coglabel push-model COMPILED --place ${place.uri}`,
      })
  } catch (error) {
    findings.push(badFinding('models', error))
  }
  return { findings, digests }
}

async function checkModel(place: Place, digest: string): Promise<Finding> {
  const what = `model ${digest.slice(0, 12)}…`
  try {
    const bytes = await place.weights.get(`${digest}/${weightsLockKey}`)
    if (bytes === null)
      return {
        what,
        state: 'bad',
        saw: `${weightsLockKey} is missing: its push has not ended`,
        todo: 'coglabel push-model with the same folder goes on where it was',
      }
    const lock = readLock(bytes, `${place.weights.uri}${digest}/`)
    const missing = await missingPieces(place.weights, lock)
    if (missing.length > 0)
      return {
        what,
        state: 'bad',
        saw: `${lock.name}: ${counted(missing.length, 'piece')} missing or of another size, such as ${missing[0]}`,
        todo: `remove ${place.weights.uri}${digest}/ and push the model again`,
      }
    // Reads the manifest whole, and compares its digest.
    await chooseModel(digest, place)
    const total = lock.files.reduce((sum, file) => sum + file.bytes, 0)
    return { what, state: 'ok', saw: `${lock.name}, ${(total / 1e9).toFixed(2)} GB, all pieces there` }
  } catch (error) {
    return badFinding(what, error)
  }
}

async function missingPieces(
  weights: ObjectStore,
  { digest, files, pieceBytes }: WeightsLock,
): Promise<string[]> {
  const sizes = new Map<string, number>()
  for await (const { key, sizeBytes } of listAll(weights, { prefix: `${digest}/files/` }))
    sizes.set(key, sizeBytes)
  return files
    .flatMap((file) => piecesOf(file, pieceBytes))
    .filter(({ key, start, end }) => sizes.get(`${digest}/${key}`) !== end - start)
    .map(({ key }) => key)
}

async function checkWanted(place: Place, model: string): Promise<Finding> {
  try {
    const chosen = await chooseModel(model, place)
    const { name, digest } = chosen.model
    const what = 'the model you named'
    if (chosen.isPushed) return { what, state: 'ok', saw: `${name} ${digest}` }
    const todo = `coglabel push-model ${model} --place ${place.uri}`
    return { what, state: 'bad', saw: `${name} ${digest} was not pushed`, todo }
  } catch (error) {
    return badFinding('the model you named', error)
  }
}

/** Runs whose model no worker can fetch. */
async function checkRuns(place: Place, digests: ReadonlySet<string>): Promise<Finding[]> {
  const without: string[] = []
  let [runs, model] = [0, '']
  try {
    for await (const runId of listRuns(place)) {
      if (runs >= maxRuns) break
      runs += 1
      const config = await readRun(place.runStoreOf(runId))
      const wanted = [config?.model, config?.grounding].find(
        (one) => one !== undefined && !digests.has(one.digest),
      )
      if (wanted === undefined) continue
      without.push(runId)
      model = `${wanted.name} ${wanted.digest.slice(0, 12)}…`
    }
  } catch (error) {
    return [badFinding('runs', error)]
  }
  if (without.length === 0) return [{ what: 'runs', state: 'ok', saw: counted(runs, 'run') }]
  const named = without.slice(0, maxRunsNamed).join(', ')
  return [
    {
      what: 'runs',
      state: 'warn',
      saw: `${counted(without.length, 'run')} of ${runs} want a model that was not pushed: ${named}${without.length > maxRunsNamed ? ', …' : ''} (${model})`,
      todo: `coglabel push-model COMPILED --place ${place.uri}`,
    },
  ]
}
