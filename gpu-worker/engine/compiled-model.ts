// A compiled model folder as the engine finds it: the manifest, checked against the files. Knows no graph.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'
import type { Target } from '../../schemas/model-manifest.ts'
import { digestText, manifestFileName, manifestVersion, ModelManifest } from '../../schemas/model-manifest.ts'

export type CompiledModel = { folder: string; manifest: ModelManifest }

/** Files up to this size are hashed at every load; a larger one's size is checked. About a second of hashing. */
const maxHashedBytes = 1 << 30

/** Opens a compiled folder. Throws UserError for a missing, foreign, future or damaged one. */
export async function openCompiledModel(folder: string): Promise<CompiledModel> {
  const manifest = await readManifest(folder)
  for (const file of manifest.files) await checkFile(folder, file)
  return { folder, manifest }
}

/** The manifest alone, its files not looked at. Throws UserError for a folder that is no compiled model. */
export async function readManifest(folder: string): Promise<ModelManifest> {
  const path = join(folder, manifestFileName)
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new UserError(
      `${folder} is no compiled model: it has no ${manifestFileName}; make one with \`coglabel compile\``,
      { cause },
    )
  })
  const manifest = parseManifest(text, path)
  if (sha256Of(digestText(manifest.files)) !== manifest.digest) {
    throw new UserError(
      `${path} has a digest that is not that of its list of files: it was edited; compile the model again`,
    )
  }
  return manifest
}

/** Throws UserError for a model that was compiled for another device: its graph might run, but as nobody measured it. */
export function requireTarget({ folder, manifest }: CompiledModel, device: Target): void {
  if (manifest.target === device) return
  throw new UserError(
    `${folder} was compiled for ${manifest.target}, and it shall run on ${device}; give --device ${manifest.target}, or compile the checkpoint with --target ${device}`,
  )
}

function parseManifest(text: string, path: string): ModelManifest {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new UserError(`${path} is not JSON; compile the model again`, { cause })
  }
  const version = z.object({ v: z.number() }).safeParse(json)
  if (version.success && version.data.v > manifestVersion) {
    throw new UserError(
      `${path} has version ${version.data.v}, made by a newer coglabel; this one reads version ${manifestVersion}. Update coglabel or compile the model again`,
    )
  }
  if (version.success && version.data.v < manifestVersion) {
    throw new UserError(
      `${path} has version ${version.data.v}, made by an older coglabel; this one runs version ${manifestVersion}. Compile the checkpoint again`,
    )
  }
  const parsed = ModelManifest.safeParse(json)
  if (!parsed.success) {
    throw new UserError(
      `${path} is not a valid manifest; compile the model again. ${z.prettifyError(parsed.error)}`,
    )
  }
  return parsed.data
}

async function checkFile(
  folder: string,
  { name, bytes, sha256 }: ModelManifest['files'][number],
): Promise<void> {
  const path = join(folder, name)
  const size = await stat(path).then(
    (info) => info.size,
    () => undefined,
  )
  if (size !== bytes) {
    throw new UserError(
      `${path} has ${size === undefined ? 'gone' : `${size} bytes`}, the manifest says ${bytes} bytes; copy the folder again or compile the model again`,
    )
  }
  if (bytes > maxHashedBytes) return
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(piece)
  const seen = hash.digest('hex')
  if (seen !== sha256) {
    throw new UserError(
      `${path} has the digest ${seen.slice(0, 12)}…, the manifest says ${sha256.slice(0, 12)}…: it was changed or damaged; compile the model again`,
    )
  }
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
