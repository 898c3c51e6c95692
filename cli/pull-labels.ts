// `coglabel pull-labels`: a verified copy of a run's sealed labels in a folder, with labels.jsonl for people.
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { labelsViewName, writeLabelsView } from '../dataset/labels-view.ts'
import { pullRun } from '../dataset/pull.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import { makeFolder } from '../dataset/stores/make-folder.ts'
import { needText } from './flag-values.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needOne, needRun, startTicker, type VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const pullLabelsUsage = `coglabel pull-labels RUN --out DIR --place URI

Copies what is sealed of a run into DIR, checked against the digests of its manifests, and writes DIR/labels.jsonl.
DIR is a run folder then, for export, review, report, draw and evaluate. The same command goes on with what was
interrupted, and later brings what has been sealed since.

  --out DIR              where the copy is kept (needed)
${placeUsage}

Exit code: 0 all copied, 1 fatal, 2 wrong usage, or a copy that differs, 3 copied, and it holds failed records.`

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runPullLabels(args: readonly string[], root: VerbRoot): Promise<number> {
  const options = { ...placeOptions, out: { type: 'string' } } as const
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options })
  const runId = needOne(positionals, { verb: 'pull-labels', name: 'RUN' })
  const out = needText(values.out, `where to? coglabel pull-labels ${runId} --out DIR`)
  const folder = resolve(out)
  const place = await openPlaceOf(values)
  try {
    await needRun(place, runId)
    await makeFolder(folder)
    const to = openFsStore(folder)
    const ticker = startTicker(root)
    const tally = await pullRun({
      from: place.runStoreOf(runId),
      to,
      onProgress: ({ copied, copiedBytes }) =>
        ticker.show(`${counted(copied, 'file')}, ${(copiedBytes / 1e6).toFixed(1)} MB`),
    })
    ticker.end()
    if (tally.generations === 0) {
      root.print(`nothing of ${runId} is sealed yet; coglabel seal ${runId} seals what is done`)
      return 0
    }
    const view = await writeLabelsView(to, folder)
    root.print(
      `copied ${counted(tally.copied, 'file')} (${tally.copiedBytes} bytes), ${tally.known} were there already\n` +
        `labels: ${join(out, labelsViewName)} (${counted(view.records, 'line')}, ${counted(view.images, 'image')})`,
    )
    return Object.values(view.byTask).some(({ failed }) => failed > 0) ? 3 : 0
  } finally {
    place.close()
  }
}
