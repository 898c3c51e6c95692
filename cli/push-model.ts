// `coglabel push-model`: a compiled model goes where workers fetch it from.
import { parseArgs } from 'node:util'
import { pushModel } from '../dataset/push-weights.ts'
import { openCompiledModel } from '../gpu-worker/engine/compiled-model.ts'
import { UserError } from '../schemas/errors.ts'
import type { ModelManifest } from '../schemas/model-manifest.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'

export const pushModelUsage = `coglabel push-model DIR [options]

Uploads a compiled model (made by coglabel compile) under weights/<digest>/ of a place, and prints the URI that workers
take as COGLABEL_MODEL. What is there already is not sent again: run the same command again after it broke off.

${placeUsage}

Exit code: 0 all is there, 1 fatal, 2 wrong usage.`

/** Runs the verb; returns the exit code. */
export async function runPushModel(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: placeOptions,
    allowPositionals: true,
  })
  const [folder, ...rest] = positionals
  if (folder === undefined || rest.length > 0)
    throw new UserError(
      `push-model takes one folder, it was given ${positionals.length}\n\n${pushModelUsage}`,
    )
  const { manifest } = await openCompiledModel(folder)
  const place = await openPlaceOf(values)
  try {
    const { uri, sentBytes } = await pushModel({
      folder,
      manifest,
      store: place.weights,
      onProgress: progressPrinter(),
    })
    console.error(`pushed ${manifest.name}: ${(sentBytes / 1e6).toFixed(1)} MB sent`)
    console.error(`in the settings of a fleet: ${JSON.stringify({ model: settingOf(manifest) })}`)
    console.log(uri)
    return 0
  } finally {
    place.close()
  }
}

/** The model as a deployment's settings name it: its bytes decide which instances hold it. */
function settingOf({ digest, files }: ModelManifest): { digest: string; sizeBytes: number } {
  return { digest, sizeBytes: files.reduce((sum, { bytes }) => sum + bytes, 0) }
}

/** One line on a terminal, rewritten; nothing elsewhere. */
function progressPrinter(): (progress: { doneBytes: number; totalBytes: number }) => void {
  return ({ doneBytes, totalBytes }) => {
    if (!process.stderr.isTTY) return
    const text = `${(doneBytes / 1e6).toFixed(0)} of ${(totalBytes / 1e6).toFixed(0)} MB`
    process.stderr.write(`\r\u001B[K${text}${doneBytes >= totalBytes ? '\n' : ''}`)
  }
}
