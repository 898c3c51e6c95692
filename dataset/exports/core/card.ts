// The dataset card: what an export holds, where it comes from, what it may be used for and how to make it again.
// Pure: counts in, Markdown and pictures out. Text of models and files is escaped.
import type { RunConfig } from '../../../schemas/run-config.ts'
import type { ExportFormat } from './format.ts'
import { frontMatter } from './front-matter.ts'
import { histogramSvg } from './histogram-svg.ts'
import { familyOf, judgeLicence } from './model-families.ts'
import type { BrokenRule } from './rules.ts'
import type { Statistics } from './statistics.ts'

export type CardFacts = {
  format: ExportFormat
  config: RunConfig
  statistics: Statistics
  /** The command line that made the export, without the program's name. */
  command: string
  version: string
  createdAt: string
  split: { shares: string; seed: number; warnings: readonly string[] } | null
  broken: readonly BrokenRule[] | null
  /** Of the export, without the card. */
  files: readonly string[]
  /** What each check looks for. */
  checkSummaries: ReadonlyMap<string, string>
  /** The command lines that made the labels, without the program's name; none where nobody noted them. */
  labelCommands: readonly string[]
}

/** Files of the card by path. */
export function renderCard(facts: CardFacts): Record<string, string> {
  const { statistics } = facts
  const pictures: Record<string, string> = {}
  for (const [task, { words }] of Object.entries(statistics.tasks))
    if (words.total > 0)
      pictures[`card/words-${task}.svg`] = histogramSvg(words, { title: `length of ${task}`, unit: 'words' })
  if (statistics.boxArea.total > 0) {
    pictures['card/box-area.svg'] = histogramSvg(statistics.boxArea, {
      title: 'area of boxes',
      unit: 'share of the image',
      decimals: 2,
    })
    pictures['card/boxes-per-record.svg'] = histogramSvg(statistics.boxesPerRecord, {
      title: 'boxes of a record',
      unit: 'boxes',
    })
  }
  const sections = [
    head(facts),
    licences(statistics),
    contents(facts),
    models(statistics),
    health(facts),
    Object.keys(pictures).length === 0
      ? ''
      : `## Lengths and boxes\n${Object.keys(pictures)
          .map((path) => `![histogram: ${path.slice(5, -4)}](${path})`)
          .join(' ')}`,
    limits(facts),
    reproduce(facts),
  ]
  return { 'README.md': `${sections.filter((section) => section !== '').join('\n\n')}\n`, ...pictures }
}

function head(facts: CardFacts): string {
  const { format, statistics, config } = facts
  const tasks = Object.keys(statistics.tasks)
  const edits = statistics.verdicts['edit'] ?? 0
  const makers = edits === 0 ? ', not by people' : `, and ${edits} of the run's mended by people`
  return `${frontMatter(facts)}
# Labels of ${escapeMarkdown(config.runId)} as ${format.name}

${statistics.records} records (${tasks.map(escapeMarkdown).join(', ') || 'none'}) on ${statistics.images} images, made by a vision-language model${makers}; ${statistics.entries} entries of ${format.name}.`
}

function licences({ models: used }: Statistics): string {
  const verdicts = [...new Set(Object.values(used).map(({ licence }) => licence))].map(judgeLicence)
  const bound = verdicts.filter(({ isFree }) => !isFree)
  const terms = [...new Set(Object.values(used).map((model) => familyOf(model).terms))].filter(
    (one) => one !== null,
  )
  const loud = [...bound.map(({ sentence }) => sentence), ...terms]
  const warning = loud.map((sentence) => `> **NOT FREE TO USE AS YOU LIKE: ${escapeMarkdown(sentence)}.**`)
  const lines = verdicts.map(({ sentence }) => `- ${escapeMarkdown(sentence)}`)
  const images = '- the images keep the licences of their sources, which this tool does not know'
  return [
    ...warning.flatMap((line, index) => (index === 0 ? [line] : ['>', line])),
    ...(warning.length > 0 ? [''] : []),
    '## Licences',
    ...lines,
    ...terms.map((one) => `- ${escapeMarkdown(one)}`),
    images,
  ].join('\n')
}

function contents({ statistics, split }: CardFacts): string {
  const tasks = Object.entries(statistics.tasks).map(
    ([task, { records, images, turns, boxes }]) =>
      `| ${escapeMarkdown(task)} | ${records} | ${images} | ${turns} | ${boxes} |`,
  )
  const table = ['| task | records | images | turns | boxes |', '|---|---|---|---|---|', ...tasks]
  if (split === null) return ['## Contents', ...table].join('\n')
  const parts = Object.entries(statistics.splits).map(([name, images]) => `| ${name} | ${images} |`)
  const told = `Split ${split.shares} with seed ${split.seed}, by groups: equal bytes, near pictures and one source folder stay together.`
  return [
    '## Contents',
    ...table,
    '',
    told,
    ...split.warnings.map((warning) => `- ${escapeMarkdown(warning)}`),
    '',
    '| part | images |',
    '|---|---|',
    ...parts,
  ].join('\n')
}

function models({ models: used, prompts, from, to }: Statistics): string {
  const modelRows = Object.values(used).map((model) => {
    const { family, baseModel } = familyOf(model)
    return `| ${escapeMarkdown(model.name)} | ${model.digest.slice(0, 16)} | ${escapeMarkdown(`${model.weights}, ${model.engine}`)} | ${family} | ${baseModel} | ${model.records} |`
  })
  const biases = [...new Set(Object.values(used).map((model) => familyOf(model).biases))].map(
    (one) => `- ${one}`,
  )
  const promptRows = Object.values(prompts).map(
    ({ task, taskVersion, specHash, question, records }) =>
      `| ${escapeMarkdown(task)} | ${taskVersion} | ${specHash.slice(0, 16)} | ${escapeMarkdown(question)} | ${records} |`,
  )
  return [
    '## Models',
    from === null || to === null
      ? 'There are no labels.'
      : `Labels were made from ${minute(from)} to ${minute(to)}.`,
    '',
    '| model | digest | weights and engine | family | base language model | records |',
    '|---|---|---|---|---|---|',
    ...modelRows,
    '',
    'Inherited biases:',
    ...biases,
    '',
    '## Prompts',
    '| task | version | spec | prompt | records |',
    '|---|---|---|---|---|',
    ...promptRows,
  ].join('\n')
}

function health({ statistics, broken, checkSummaries }: CardFacts): string {
  const { statuses, failures, leftOut, verdicts, checks, cutOff, repaired, records, rotated } = statistics
  const share = (count: number, of: number) => (of === 0 ? '' : ` (${rate(count, of)})`)
  const seen = statuses.ok + statuses.filtered + statuses.failed
  const lines = [
    `- of ${seen} records of the run ${statuses.ok} are ok${share(statuses.ok, seen)}, ${statuses.filtered} were turned down by a check, ${statuses.failed} failed`,
    ...Object.entries(failures).map(([code, count]) => `- failed as ${code}: ${count}`),
    `- of the exported, ${cutOff} were cut off at their length${share(cutOff, records)}, ${repaired} were mended before they parsed${share(repaired, records)}`,
    ...Object.entries(verdicts).map(([verdict, count]) => `- people's verdicts, ${verdict}: ${count}`),
    ...Object.entries(leftOut).map(([reason, count]) => `- left out, ${reason}: ${count}`),
    ...(rotated === 0
      ? []
      : [
          `- **${rotated === 1 ? '1 image lies' : `${rotated} images lie`} on the side in the file; loaders that ignore EXIF will see them turned, and their boxes elsewhere**`,
        ]),
  ]
  const rows = Object.entries(checks).map(
    ([name, { passed, failed, scores, scoreSum }]) =>
      `| ${escapeMarkdown(name)} | ${passed} of ${passed + failed} | ${rate(passed, passed + failed)} | ${scores === 0 ? '' : (scoreSum / scores).toFixed(3)} | ${escapeMarkdown(checkSummaries.get(name) ?? '')} |`,
  )
  const table =
    rows.length === 0
      ? ['No checks were made on these records.']
      : ['| check | passed | share | mean score | looks for |', '|---|---|---|---|---|', ...rows]
  return ['## Health', ...lines, '', ...table, '', loading(broken)].join('\n')
}

function rate(count: number, of: number): string {
  return of === 0 ? '' : `${((100 * count) / of).toFixed(1)} %`
}

function loading(broken: readonly BrokenRule[] | null): string {
  if (broken === null) return 'The rules of its loaders were not checked.'
  if (broken.length === 0)
    return 'The files were read back and keep every rule of their loaders that is known.'
  return broken
    .map(
      ({ rule, problem, count }) =>
        `- **breaks the rule ${rule} ${count} times: ${escapeMarkdown(problem)}**`,
    )
    .join('\n')
}

function limits({ format, statistics }: CardFacts): string {
  const judged = Object.values(statistics.verdicts).reduce((sum, count) => sum + count, 0)
  const seen =
    judged === 0
      ? 'nobody has looked at these labels'
      : `people have looked at ${judged} of the run's records and at no other`
  return [
    '## Known limits',
    `- ${seen}; a model says wrong things in a sure voice`,
    '- a thing that no label names may still be in the image',
    "- boxes are a model's own, to a thousandth of the image at best",
    '- pictures are counted as near by a 64-bit difference hash; crops and collages of one picture may pass as different',
    '',
    `What ${format.name} cannot hold:`,
    ...format.lost.map((loss) => `- ${escapeMarkdown(loss)}`),
  ].join('\n')
}

/** A run may be gone on with by a new command every day. */
const maxCommands = 5

function reproduce({ command, labelCommands, version, config, createdAt }: CardFacts): string {
  const { source, model, sampling, checks = [] } = config
  const gates = checks.map(({ name, action }) => `${name}=${action}`).join(', ')
  const settings = [
    `temperature ${sampling.temperature}`,
    `seed ${sampling.seed}`,
    ...(gates === '' ? [] : [`checks ${escapeMarkdown(gates)}`]),
  ]
  return [
    '## How to make it again',
    '```sh',
    ...labelCommands.slice(0, maxCommands).map((one) => `npx coglabel@${version} ${fenced(one)}`),
    ...(labelCommands.length > maxCommands
      ? [`# … and ${labelCommands.length - maxCommands} more: run.json`]
      : []),
    `npx coglabel@${version} ${fenced(command)}`,
    '```',
    `Exported ${minute(createdAt)} from the run ${escapeMarkdown(config.runId)} over ${escapeMarkdown(source.uri)}, with the model ${escapeMarkdown(model.name)} (${model.digest.slice(0, 16)}, ${model.weights}), ${settings.join(', ')}. The run's config.json has every setting that made the labels. The same records give the same files.`,
  ].join('\n')
}

/** A command may hold what ends the fence around it. */
function fenced(command: string): string {
  return command.replaceAll(/[\r\n]+/g, ' ').replaceAll('```', '` ` `')
}

/** `2026-01-01 12:00 UTC`. */
function minute(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`
}

/** Text of models and files must not become markup: it is data on this page. */
export function escapeMarkdown(text: string): string {
  const oneLine = text.replaceAll(/\s+/g, ' ').trim()
  return oneLine.replaceAll(/[\\`*_{}[\]<>#|]/g, (mark) =>
    mark === '<' ? '&lt;' : mark === '>' ? '&gt;' : `\\${mark}`,
  )
}
