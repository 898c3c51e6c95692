// The YAML that begins a dataset card: what the Hub of Hugging Face shows, searches and loads by. Pure; it does not
// know what the card says below it.
import { posix } from 'node:path'
import type { ExportFormat } from './format.ts'
import { judgeLicence } from './model-families.ts'
import type { Statistics } from './statistics.ts'

type Facts = {
  format: ExportFormat
  config: { runId: string }
  statistics: Statistics
  files: readonly string[]
}

/** Between its two fences. Identifiers are those of the Hub (huggingface/hub-docs, datasetcard.md). */
export function frontMatter({ format, config, statistics, files }: Facts): string {
  return [
    '---',
    `pretty_name: ${quoted(`Labels of ${config.runId} (${format.name})`)}`,
    ...licenceLines(statistics),
    'annotations_creators:',
    '- machine-generated',
    'task_categories:',
    ...categories(statistics).map((name) => `- ${name}`),
    'size_categories:',
    `- ${sizeCategory(statistics.entries)}`,
    'tags:',
    '- coglabel',
    '- machine-labelled',
    ...configLines({ files, parts: Object.keys(statistics.splits), pattern: format.hubFiles }),
    '---',
  ].join('\n')
}

/**
 * The images' licence is not known, so nothing free is claimed; `other` where the weights bind already. The Hub asks for
 * a name of what is `other`.
 */
function licenceLines({ models }: Statistics): string[] {
  const bound = [...new Set(Object.values(models).map(({ licence }) => licence))].filter(
    (licence) => !judgeLicence(licence).isFree,
  )
  if (bound.length === 0) return ['license: unknown']
  const name = bound.map((licence) => slug(licence) || 'unstated').join('-and-')
  return ['license: other', `license_name: ${quoted(name)}`, 'license_link: README.md']
}

function slug(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
    .slice(0, 60)
}

function categories({ tasks, boxArea }: Statistics): string[] {
  return [
    'image-to-text',
    ...(Object.values(tasks).some(({ turns }) => turns > 0) ? ['visual-question-answering'] : []),
    ...(boxArea.total > 0 ? ['object-detection'] : []),
  ]
}

const sizes = [
  [1_000, 'n<1K'],
  [10_000, '1K<n<10K'],
  [100_000, '10K<n<100K'],
  [1_000_000, '100K<n<1M'],
  [10_000_000, '1M<n<10M'],
  [100_000_000, '10M<n<100M'],
  [1_000_000_000, '100M<n<1B'],
] as const

function sizeCategory(entries: number): string {
  return sizes.find(([below]) => entries < below)?.[1] ?? 'n>1B'
}

type Config = { files: readonly string[]; parts: readonly string[]; pattern: RegExp | undefined }

/** Without them the Hub goes by extensions, and takes the images or splits.jsonl for the rows. */
function configLines({ files, parts, pattern }: Config): string[] {
  if (pattern === undefined) return []
  const bySplit = new Map<string, string[]>()
  for (const file of files) {
    if (!pattern.test(file) || companions.has(file)) continue
    // A file of a part is PART.json, or PART-000001.tar where there are several; some formats have one file for all.
    const stem = posix.basename(file).replace(/(-\d+)?\.[a-z]+$/, '')
    const name = !parts.includes(stem) ? 'train' : stem.replaceAll(/\W/g, '_')
    bySplit.set(name, [...(bySplit.get(name) ?? []), file])
  }
  if (bySplit.size === 0) return []
  const lines = [...bySplit].flatMap(([name, paths]) => [
    `  - split: ${quoted(name)}`,
    '    path:',
    ...paths.map((path) => `    - ${quoted(path)}`),
  ])
  return ['configs:', '- config_name: default', '  data_files:', ...lines]
}

/** What every export may have beside its data. */
const companions = new Set(['splits.jsonl', 'left-out.jsonl', 'moved.jsonl'])

/** A JSON string is one of YAML too. */
function quoted(text: string): string {
  return JSON.stringify(text)
}
