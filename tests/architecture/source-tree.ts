// Reads the repository as the architecture tests see it: files, their imports and their size. It judges nothing.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAst } from 'vitest/node'

export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url))

/** One import, export-from, `import()` or type import. `target` is a repository path, a package or a `node:` module. */
export type Import = { specifier: string; target: string; kind: 'file' | 'package' | 'builtin' }

export type SourceFile = { path: string; text: string; imports: Import[] }

/** Every file git tracks or would track; the working tree without git (an unpacked archive) is an error. */
export function repositoryFiles(): string[] {
  const options = { cwd: repositoryRoot, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 } as const
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], options)
  return [...new Set(list.split('\0'))].filter(
    (path) => path !== '' && existsSync(join(repositoryRoot, path)),
  )
}

export function readRepositoryFile(path: string): string {
  return readFileSync(join(repositoryRoot, path), 'utf8')
}

export function sourceFiles(): SourceFile[] {
  return repositoryFiles()
    .filter((path) => /\.m?ts$/.test(path))
    .map((path) => {
      const text = readRepositoryFile(path)
      return { path, text, imports: importsOf(path, text) }
    })
}

/** The imports of one TypeScript file, by its syntax tree, in order of appearance. */
export function importsOf(path: string, text: string): Import[] {
  const specifiers: string[] = []
  // oxlint-disable-next-line typescript/no-deprecated -- its successor is vite's, which is not a dependency of ours
  visit(parseAst(text, { lang: 'ts' }), (node) => {
    const source = node['source']
    if (node['type'] === 'TSImportEqualsDeclaration') specifiers.push('import = require')
    if (typeof source !== 'object' || source === null || !('value' in source)) return
    if (typeof source.value === 'string' && /Import|Export/.test(String(node['type'])))
      specifiers.push(source.value)
  })
  return specifiers.map((specifier) => resolveImport(path, specifier))
}

function resolveImport(path: string, specifier: string): Import {
  if (specifier.startsWith('.')) {
    return { specifier, target: normalize(join(dirname(path), specifier)), kind: 'file' }
  }
  if (specifier.startsWith('node:')) return { specifier, target: specifier, kind: 'builtin' }
  const parts = specifier.split('/')
  const target = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!
  return { specifier, target, kind: 'package' }
}

type TreeNode = Record<string, unknown>

/** Calls `see` for every node below and including `value`. */
export function visit(value: unknown, see: (node: TreeNode) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, see)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  // The parser's nodes are plain objects with string keys.
  const node = value as TreeNode
  if (typeof node['type'] === 'string') see(node)
  for (const child of Object.values(node)) visit(child, see)
}
