// Holds the layer table over every import in the tree. The table itself is layer-table.ts.
import { describe, expect, it } from 'vitest'
import {
  environmentReaders,
  foldersWithoutCode,
  isInPart,
  layers,
  nativePackages,
  nativeParts,
  partOf,
  soleImporters,
} from './layer-table.ts'
import {
  importsOf,
  readRepositoryFile,
  repositoryFiles,
  sourceFiles,
  type Import,
  type SourceFile,
} from './source-tree.ts'

const files = sourceFiles()
const byPath = new Map(files.map((file) => [file.path, file]))

describe('layers', () => {
  it('finds the source files', () => {
    expect(files.length).toBeGreaterThan(5)
  })

  it('sees every way to write an import', () => {
    const text =
      "import a from './a.ts'; import type { B } from './b.ts'; export * from './c.ts'; export { d } from '../d.ts';" +
      "type E = import('./e.ts').E; await import('./f.ts'); import 'sharp'; import x from '@aws-sdk/client-s3/y'; import 'node:fs'"
    expect(
      importsOf('cli/x.ts', text)
        .map(({ target }) => target)
        .toSorted(),
    ).toEqual([
      '@aws-sdk/client-s3',
      'cli/a.ts',
      'cli/b.ts',
      'cli/c.ts',
      'cli/e.ts',
      'cli/f.ts',
      'd.ts',
      'node:fs',
      'sharp',
    ])
  })

  it.each([
    ['schemas/a.ts', "import 'node:fs'", 'schemas may not use node:fs'],
    ['schemas/a.ts', "import { x } from '../cli/main.ts'", 'schemas may not import cli'],
    [
      'gpu-worker/model/a.ts',
      "import { x } from '../engine/session.ts'",
      'gpu-worker/model may not import gpu-worker/engine',
    ],
    [
      'gpu-worker/engine/a.ts',
      "import type { X } from '../model/ops.ts'",
      'gpu-worker/engine may not import gpu-worker/model',
    ],
    ['dataset/seal.ts', "import { x } from './exports/a.ts'", 'dataset/seal may not import dataset/exports'],
    ['gpu-worker/engine/a.ts', "import x from 'onnxruntime-node'", 'only gpu-worker/engine/session.ts'],
    ['cli/a.ts', "import x from 'left-pad'", 'cli may not import the package left-pad'],
    ['cli/a.ts', "import x from 'fs'", 'cli may not import the package fs'],
    ['novel/a.ts', '', 'is in no layer'],
  ])('fails a planted breach in %s: %s', (path, text, message) => {
    expect(breaches({ path, text, imports: importsOf(path, text) }).join('\n')).toContain(message)
  })

  it('allows the edges the house has', () => {
    const text = "import { a } from '../tokenizer/template.ts'; import { b } from '../../schemas/errors.ts'"
    const path = 'gpu-worker/engine/engine.ts'
    expect(breaches({ path, text, imports: importsOf(path, text) })).toEqual([])
  })

  it('imports point up the table only', () => {
    expect(files.flatMap(breaches)).toEqual([])
  })

  it('imports name files that exist, with their .ts', () => {
    const present = new Set(repositoryFiles())
    const dangling = edges().filter(
      ({ to }) => !byPath.has(to) && !(present.has(to) && /^review\/page\/|\.json$/.test(to)),
    )
    expect(dangling.map(({ from, to }) => `${from} imports ${to}, which does not exist`)).toEqual([])
  })

  it('the page imports its own files only: browsers get no other', () => {
    const scripts = repositoryFiles().filter((path) => /^review\/page\/.*\.js$/.test(path))
    expect(scripts.length).toBeGreaterThan(5)
    const targets = scripts.flatMap((path) => importsOf(path, readRepositoryFile(path)))
    expect(targets.map(({ target }) => target).filter((target) => !scripts.includes(target))).toEqual([])
  })

  it('has no import cycle', () => {
    expect(findCycle(new Map(files.map(({ path }) => [path, fileTargets(path)])))).toEqual([])
  })

  it('finds a planted cycle', () => {
    const graph = new Map([
      ['a', ['b']],
      ['b', ['c']],
      ['c', ['b']],
    ])
    expect(findCycle(graph)).toEqual(['b', 'c', 'b'])
  })

  it('functions reach nothing native', () => {
    const roots = files.filter(({ path }) => isInPart(path, 'functions'))
    expect(roots.flatMap(({ path }) => nativeReach(path))).toEqual([])
  })

  it('every folder of the tree is known to the table', () => {
    const known = [...layers.flatMap(({ parts }) => parts), ...foldersWithoutCode]
    const folders = new Set(
      repositoryFiles()
        .filter((path) => path.includes('/'))
        .map((path) => path.split('/')[0]!),
    )
    const unknown = [...folders].filter((folder) => !known.some((part) => part.split('/')[0] === folder))
    expect(unknown).toEqual([])
  })

  it('only roots read the environment', () => {
    const readers = files.filter(({ text }) =>
      /\bprocess\s*(\.|\[['"])\s*env\b|\benv\b[^;\n]*from 'node:process'/.test(text),
    )
    const wrong = readers.filter(({ path }) => !environmentReaders.some((part) => isInPart(path, part)))
    expect(wrong.map(({ path }) => `${path} reads the environment; take the value as an argument`)).toEqual(
      [],
    )
  })
})

function breaches(file: SourceFile): string[] {
  const home = partOf(file.path)
  if (home === undefined)
    return [`${file.path} is in no layer; add its folder to tests/architecture/layer-table.ts`]
  const { part, layer } = home
  return file.imports.flatMap((found) => {
    const reason = layer.mayImport.includes('*') ? undefined : breach(found, part)
    const sole = part === 'tests' ? undefined : soleBreach(found, file.path)
    return [reason, sole]
      .filter((text) => text !== undefined)
      .map((text) => `${file.path}: ${text} (${found.specifier})`)
  })
}

function breach(found: Import, part: string): string | undefined {
  const layer = layers.find(({ parts }) => parts.includes(part))!
  if (found.kind === 'builtin')
    return layer.builtins === false ? `${part} may not use ${found.target}` : undefined
  if (found.kind === 'package') {
    return layer.packages.includes(found.target)
      ? undefined
      : `${part} may not import the package ${found.target}`
  }
  const target = partOf(found.target)?.part
  // package.json is everybody's: the version is read from it.
  if (target === part || found.target === 'package.json') return undefined
  return layer.mayImport.includes(target ?? '')
    ? undefined
    : `${part} may not import ${target ?? found.target}`
}

function soleBreach(found: Import, path: string): string | undefined {
  const importers = soleImporters[found.target]
  if (found.kind !== 'package') return undefined
  if (importers === undefined) {
    return found.target.startsWith('@aws-sdk/') && !isInPart(path, 'functions')
      ? `${found.target} needs its one importing file named in soleImporters`
      : undefined
  }
  const allowed = importers.some((importer) =>
    importer.endsWith('/') ? path.startsWith(importer) : path === importer,
  )
  return allowed ? undefined : `only ${importers.join(', ')} may import ${found.target}`
}

function edges(): { from: string; to: string }[] {
  return files.flatMap(({ path, imports }) =>
    imports.filter(({ kind }) => kind === 'file').map(({ target }) => ({ from: path, to: target })),
  )
}

function fileTargets(path: string): string[] {
  return (byPath.get(path)?.imports ?? []).filter(({ kind }) => kind === 'file').map(({ target }) => target)
}

/** The first cycle found, as the path around it, or an empty list. Depth first with an explicit colour per node. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>()
  const walk = (node: string, trail: readonly string[]): string[] => {
    if (trail.includes(node)) return [...trail.slice(trail.indexOf(node)), node]
    if (done.has(node)) return []
    for (const next of graph.get(node) ?? []) {
      const cycle = walk(next, [...trail, node])
      if (cycle.length > 0) return cycle
    }
    done.add(node)
    return []
  }
  for (const node of graph.keys()) {
    const cycle = walk(node, [])
    if (cycle.length > 0) return cycle
  }
  return []
}

function nativeReach(root: string): string[] {
  const seen = new Set<string>([root])
  const queue = [root]
  const found: string[] = []
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (nativeParts.some((part) => isInPart(path, part))) found.push(`${root} reaches ${path}`)
    for (const { kind, target } of byPath.get(path)?.imports ?? []) {
      if (nativePackages.includes(target)) found.push(`${root} reaches ${target} through ${path}`)
      if (kind === 'file' && !seen.has(target)) queue.push(target)
      seen.add(target)
    }
  }
  return found
}
