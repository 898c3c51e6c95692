// Which model a submitted run is for: a compiled folder here, or one that was pushed to the place. It opens no engine.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { sha256Hex } from '../dataset/canonical-json.ts'
import type { Place } from '../dataset/place.ts'
import { readLock } from '../dataset/push-weights.ts'
import type { EngineInfo } from '../gpu-worker/engine/contract.ts'
import { describeEndpoint } from '../gpu-worker/engine/endpoint/endpoint.ts'
import { listAbilities } from '../gpu-worker/tasks/registry.ts'
import { UserError } from '../schemas/errors.ts'
import { manifestFileName, ModelManifest } from '../schemas/model-manifest.ts'
import type { RunModel } from '../schemas/run-config.ts'
import { piecesOf, weightsLockKey } from '../schemas/weights-lock.ts'
import type { EndpointFlags } from './model-flags.ts'
import { openFlaggedEndpoint } from './open-engine.ts'
import { findCompiledModel } from './open-model.ts'

export type ChosenModel = Pick<ModelManifest, 'template' | 'capabilities'> & {
  model: RunModel
  /** Whether workers of the place can fetch it. */
  isPushed: boolean
}

const Digest = z.string().regex(/^[0-9a-f]{64}$/)

/**
 * The model of a folder or of a pushed model's digest; undefined for the one that ships. Throws UserError when there
 * is none.
 */
export async function chooseModel(
  choice: string | undefined,
  { weights }: Pick<Place, 'weights'>,
): Promise<ChosenModel> {
  const isDigest = choice !== undefined && Digest.safeParse(choice).success
  const manifest = isDigest ? await readPushed(choice, weights) : await readFolder(choice)
  const { name, digest, weights: format, licence, template, capabilities } = manifest
  const isPushed = isDigest || (await weights.head(`${digest}/${weightsLockKey}`)) !== null
  return { model: { name, digest, weights: format, licence }, template, capabilities, isPushed }
}

/**
 * The model of a server that the workers ask in their own model's place. The server is asked which it has when the flags
 * do not say so: it may be out of reach from here. `notice` says where images will go.
 */
export async function chooseEndpoint(
  endpoint: EndpointFlags,
): Promise<ChosenModel & { notice: string | undefined }> {
  const { model, template, capabilities, notice } = await aboutEndpoint(endpoint)
  return { model, template, capabilities: [...capabilities], isPushed: true, notice }
}

async function aboutEndpoint({ model, keyFile, ...settings }: EndpointFlags): Promise<EngineInfo> {
  if (model !== undefined) return describeEndpoint({ ...settings, model, capabilities: listAbilities() })
  const engine = await openFlaggedEndpoint({ ...settings, model, keyFile })
  await engine.close()
  return engine.info
}

async function readFolder(modelFolder: string | undefined): Promise<ModelManifest> {
  const path = join(await findCompiledModel({ modelFolder }), manifestFileName)
  return parseManifest(await readFile(path, 'utf8'), path)
}

async function readPushed(digest: string, weights: Place['weights']): Promise<ModelManifest> {
  const uri = `${weights.uri}${digest}/`
  const bytes = await weights.get(`${digest}/${weightsLockKey}`)
  if (bytes === null)
    throw new UserError(`no model ${digest} was pushed to ${weights.uri}; push it with coglabel push-model`)
  const lock = readLock(bytes, uri)
  const file = lock.files.find(({ name }) => name === manifestFileName)
  if (file === undefined)
    throw new UserError(`${uri}${weightsLockKey} names no ${manifestFileName}; push it again`)
  const pieces = piecesOf(file, lock.pieceBytes).map(async ({ key }) => await weights.get(`${digest}/${key}`))
  const text = Buffer.concat((await Promise.all(pieces)).map((piece) => piece ?? new Uint8Array()))
  if (sha256Hex(text) !== file.sha256)
    throw new UserError(`${manifestFileName} of ${uri} is missing or damaged; push the model again`)
  const manifest = parseManifest(text.toString('utf8'), `${manifestFileName} of ${uri}`)
  if (manifest.digest === digest) return manifest
  throw new UserError(`${uri} holds the model ${manifest.digest}; push the model again`)
}

function parseManifest(text: string, name: string): ModelManifest {
  try {
    return ModelManifest.parse(JSON.parse(text))
  } catch (error) {
    throw new UserError(`${name} is not a manifest this version can read; compile the model again`, {
      cause: error,
    })
  }
}
