// Checking an export against what its loaders demand, and rules that several formats share. It does not know any format.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ExportFiles, ExportFormat, LoadingRule, RawRow } from './format.ts'
import { IdSet } from './id-set.ts'

export type BrokenRule = { rule: string; says: string; source: string; problem: string; count: number }

/** Runs every rule over every row; of each rule that is broken the first problem and how often. */
export async function checkLoading(format: ExportFormat, files: ExportFiles): Promise<BrokenRule[]> {
  const memories = new Map(format.rules.map(({ name }) => [name, newMemory()]))
  const broken = new Map<string, BrokenRule>()
  const note = ({ name, says, source }: LoadingRule, problem: string | null) => {
    if (problem === null) return
    const known = broken.get(name)
    if (known === undefined) broken.set(name, { rule: name, says, source, problem, count: 1 })
    else known.count += 1
  }
  let previous: RawRow | null = null
  const contextOf = ({ name }: LoadingRule) => ({
    files,
    ...(memories.get(name) ?? newMemory()),
    previous,
  })
  for await (const row of format.rows(files)) {
    for (const rule of format.rules) note(rule, rule.problem(row, contextOf(rule)))
    previous = row
  }
  for (const rule of format.rules) note(rule, rule.problemAtEnd?.(contextOf(rule)) ?? null)
  return [...broken.values()]
}

/** What one rule remembers while it looks at an export. */
function newMemory() {
  const sets = new Map<string, IdSet>()
  return {
    seen: new Set<string>(),
    ids(name: string): IdSet {
      const set = sets.get(name) ?? new IdSet()
      sets.set(name, set)
      return set
    },
  }
}

/** A field of an unknown value; undefined where it is no object. */
export function field(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.entries(value).find(([key]) => key === name)?.[1]
}

export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** How often a word stands in a text. */
export function countOf(word: string, inText: string): number {
  return inText.split(word).length - 1
}

/** The roles of a conversation alternate, beginning with the person and ending with the model. */
export function alternates(
  roles: readonly unknown[],
  [person, model]: readonly [string, string],
): string | null {
  if (roles.length === 0) return 'there is no turn'
  if (roles.length % 2 === 1) return `there are ${roles.length} turns; the last has no answer`
  const wrong = roles.findIndex((role, index) => role !== (index % 2 === 0 ? person : model))
  return wrong === -1 ? null : `turn ${wrong + 1} is of ${JSON.stringify(roles[wrong])}`
}

/** Where a data file names an image by a path, the path leads to a file of the export. */
export function missingImage(image: unknown, files: ExportFiles): string | null {
  if (typeof image !== 'string') return `the image is ${JSON.stringify(image)?.slice(0, 80)}, not a path`
  if (/^[a-z][a-z0-9+.-]*:/i.test(image)) return null
  return existsSync(join(files.folder, image)) ? null : `there is no file ${image}`
}

/** Names a row in a message. */
export function nameOf({ file }: RawRow, id: unknown): string {
  return `${file}, ${JSON.stringify(id)}`
}
