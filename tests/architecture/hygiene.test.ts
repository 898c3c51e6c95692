// Holds the habits no linter sees: first lines, sizes, dependencies, the lockfile and what tracked text may name.
import { describe, expect, it } from 'vitest'
import { readRepositoryFile, repositoryFiles, sourceFiles } from './source-tree.ts'

type Manifest = Record<'dependencies' | 'devDependencies' | 'optionalDependencies', Record<string, string>>
type Lockfile = {
  packages: Record<
    string,
    {
      integrity?: string
      resolved?: string
      version?: string
      inBundle?: boolean
      optionalDependencies?: Record<string, string>
    }
  >
}

// Our own files, written by npm.
const manifest = JSON.parse(readRepositoryFile('package.json')) as Manifest
const lockfile = JSON.parse(readRepositoryFile('package-lock.json')) as Lockfile

/** Adding a dependency is a decision: change the count in the commit that argues for it. */
const dependencyCounts = { dependencies: 17, devDependencies: 20, optionalDependencies: 3 }

/** Stands in for another file while a measurement runs. */
const exportedToNobody = ['bench/overhead/no-decoder.ts']

describe('source files', () => {
  const scripts = repositoryFiles().filter((path) => /^review\/page\/.*\.js$/.test(path))
  const files = [...sourceFiles(), ...scripts.map((path) => ({ path, text: readRepositoryFile(path) }))]

  it('open with a comment that says what lives there', () => {
    const silent = files.filter(({ text }) => !/^(#![^\n]*\n)?\s*(\/\/ \S|\/\*)/.test(text))
    expect(silent.map(({ path }) => path)).toEqual([])
  })

  it('stay within their size', () => {
    const tooLong = files.filter(({ path, text }) => text.split('\n').length - 1 > lineLimit(path))
    expect(tooLong.map(({ path }) => `${path} is over ${lineLimit(path)} lines`)).toEqual([])
  })

  it('export nothing that no other file names', () => {
    const words = files.map(({ path, text }) => ({ path, words: new Set(text.match(/\w+/g)) }))
    const isNamed = (name: string, by: string) =>
      words.some((file) => file.path !== by && file.words.has(name))
    const idle = files
      .filter(({ path }) => !path.startsWith('tests/') && !exportedToNobody.includes(path))
      .flatMap(({ path, text }) =>
        [...text.matchAll(/^export (?:async )?(?:function\*?|const|class) (\w+)/gm)].flatMap(
          ([, name = '']) => {
            const isType = new RegExp(`^export type ${name}\\b`, 'm').test(text)
            return isType || isNamed(name, path) ? [] : [`${path} exports ${name}`]
          },
        ),
      )
    expect(idle).toEqual([])
  })
})

describe('dependencies', () => {
  const all = Object.entries({
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
  })

  it('are exact versions', () => {
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([])
  })

  it('are as many as were decided on', () => {
    const names = ['dependencies', 'devDependencies', 'optionalDependencies'] as const
    const counts = Object.fromEntries(names.map((name) => [name, Object.keys(manifest[name]).length]))
    expect(counts).toEqual(dependencyCounts)
  })

  it('each have a sentence in the README under "## Dependencies", as "- `name`: sentence"', () => {
    const section = /^## Dependencies\n([\s\S]*?)(?=^## |$(?![\s\S]))/m.exec(readme())?.[1] ?? ''
    // One bullet may speak for several: "- `a`, `b`: sentence".
    const bullets = section.split('\n').filter((line) => /^- (`[^`]+`(, )?)+: \S+ \S+/.test(line))
    const named = new Set(
      bullets.flatMap((line) => [...line.split(': ')[0]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name)),
    )
    expect(all.map(([name]) => name).filter((name) => !named.has(name))).toEqual([])
  })
})

describe('lockfile', () => {
  const locked = Object.entries(lockfile.packages).filter(([path]) => path !== '')

  it('has an integrity for every package that is fetched; what lies inside another is under its', () => {
    const fetched = locked.filter(([, { inBundle }]) => inBundle !== true)
    expect(
      fetched.filter(([, { integrity }]) => !integrity?.startsWith('sha512-')).map(([path]) => path),
    ).toEqual([])
    const around = locked
      .filter(([, { inBundle }]) => inBundle === true)
      .map(([path]) => path.split('/node_modules/')[0]!)
    const unheld = [...new Set(around)].filter((path) => lockfile.packages[path]?.integrity === undefined)
    expect(unheld).toEqual([])
  })

  it('names no host to fetch from', () => {
    expect(locked.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path)).toEqual([])
  })

  it('holds every optional dependency, also those of other machines: npm ci fails without', () => {
    const wanted = locked.flatMap(([, { optionalDependencies = {} }]) => Object.keys(optionalDependencies))
    const missing = wanted.filter((name) => !locked.some(([path]) => path.endsWith(`node_modules/${name}`)))
    expect([...new Set(missing)]).toEqual([])
  })
})

describe('tracked text', () => {
  it('names no absolute path of a machine', () => {
    // Built from pieces, so that this file is clean itself.
    const needle = new RegExp(
      `(?<![\\w.~}/-])/(${['wo' + 'rk', 'fa' + 'rm', 'ro' + 'ot', 'Us' + 'ers'].join('|')})/\\w`,
    )
    const textual = repositoryFiles().filter((path) =>
      /(\.(m?[tj]s|json|md|py|ya?ml|sh|html|txt)|rc|run)$/.test(path),
    )
    const naming = textual.filter(
      (path) => path !== 'package-lock.json' && needle.test(readRepositoryFile(path)),
    )
    expect(naming).toEqual([])
  })
})

function lineLimit(path: string): number {
  return path.startsWith('tests/') ? 600 : 400
}

function readme(): string {
  return repositoryFiles().includes('README.md') ? readRepositoryFile('README.md') : ''
}
