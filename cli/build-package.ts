#!/usr/bin/env node
// Builds the npm package: .ts compiled to .js beside its data. Usage: node cli/launch.js cli/build-package.ts [OUT]; it packs nothing.
//
// Node strips types only outside node_modules, so a published package needs .js. tsc rewrites the .ts of import
// specifiers; this script rewrites the one other form that names a source file: new URL('./x.ts', import.meta.url).
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InvariantError, UserError } from '../schemas/errors.ts'

/** What runs. Folders that do not exist yet are skipped. The stacks are deployed from a checkout, which has the CDK. */
const runtimeFolders = ['schemas', 'gpu-worker', 'dataset', 'emulator', 'cli', 'review', 'functions']
/** Copied as they are. */
const dataEntries = ['models', 'examples', 'docs', 'LICENSE', 'README.md', 'CHANGELOG.md']
/** The repository's own tools, of no use to who installs the package; launch.js finds a Node that reads TypeScript. */
const leftOut = ['cli/build-package.js', 'cli/launch.js', 'schemas/write-json-schemas.js']
/** Map.groupBy (dataset/seal.ts) is the newest thing used; it came with Node 21, and 22 is the next line that lived. */
const nodeRange = '>=22.12'
const sourceUrl = /new URL\(\s*(['"])(\.{1,2}\/[^'"]+)\.ts\1\s*,\s*import\.meta\.url\s*\)/g
const marker = '.coglabel-package'

const root = fileURLToPath(new URL('../', import.meta.url))
buildPackage(resolve(process.argv[2] ?? join(root, 'build/package')))

/** Fills `out` with a package that `npm pack` can pack. Throws a UserError for a folder that is not its own. */
function buildPackage(out: string): void {
  clear(out)
  compile(out)
  copyData(out)
  for (const path of leftOut) rmSync(join(out, path))
  for (const path of filesBelow(out).filter((file) => file.endsWith('.js')))
    rewriteSourceUrls(join(out, path))
  writeFileSync(join(out, 'package.json'), JSON.stringify(publishedManifest(), null, 2) + '\n')
  process.stdout.write(`built ${filesBelow(out).length} files in ${out}; pack them with: npm pack ${out}\n`)
}

function clear(out: string): void {
  const entries = existsSync(out) ? readdirSync(out) : []
  if (entries.length > 0 && !entries.includes(marker)) {
    throw new UserError(`${out} is not empty and was not made by this script; name an empty or a new folder`)
  }
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, marker), 'made by cli/build-package.ts, which may delete this folder\n')
}

function compile(out: string): void {
  const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
  const config = join(out, 'tsconfig.json')
  const include = runtimeFolders.filter((folder) => existsSync(join(root, folder)))
  const compilerOptions = {
    noEmit: false,
    rewriteRelativeImportExtensions: true,
    rootDir: root,
    outDir: out,
    typeRoots: [join(root, 'node_modules/@types')],
  }
  const settings = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions,
    include: include.map((name) => join(root, name)),
  }
  writeFileSync(config, JSON.stringify({ ...settings, exclude: [out] }))
  try {
    execFileSync(process.execPath, [compiler, '-p', config], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  } catch (cause) {
    throw new UserError('the sources do not compile; mend what tsc printed above', { cause })
  } finally {
    rmSync(config)
  }
}

/** Points `new URL('./x.ts', import.meta.url)` at the .js that was built, which must be there. */
function rewriteSourceUrls(path: string): void {
  const before = readFileSync(path, 'utf8')
  const after = before.replace(sourceUrl, (_, quote: string, name: string) => {
    if (!existsSync(resolve(dirname(path), `${name}.js`))) {
      throw new InvariantError(`${path} starts ${name}.ts, which was not built to ${name}.js`)
    }
    return `new URL(${quote}${name}.js${quote}, import.meta.url)`
  })
  if (after !== before) writeFileSync(path, after)
}

/** Everything but TypeScript that lies beside the sources (a page, a JSON Schema) and the data folders. */
function copyData(out: string): void {
  for (const folder of runtimeFolders.filter((name) => existsSync(join(root, name)))) {
    for (const path of filesBelow(join(root, folder)).filter((file) => !file.endsWith('.ts'))) {
      cpSync(join(root, folder, path), join(out, folder, path))
    }
  }
  for (const entry of dataEntries.filter((name) => existsSync(join(root, name)))) {
    cpSync(join(root, entry), join(out, entry), { recursive: true, filter: (path) => !isCheckoutOnly(path) })
  }
}

/** The generator of the samples needs the icon sets, which only a checkout installs. */
function isCheckoutOnly(path: string): boolean {
  return path.endsWith('.ts') || path === join(root, 'examples/scenes')
}

/** package.json without what only a checkout needs. The reader's own Node runs the package, so none is brought. */
function publishedManifest(): Record<string, unknown> {
  // Our own file, of this repository: an object by construction.
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, unknown>
  const dropped = ['private', 'scripts', 'devDependencies', 'optionalDependencies', 'bin', 'engines']
  const kept = Object.entries(manifest).filter(([key]) => !dropped.includes(key))
  const files = [...runtimeFolders, ...dataEntries].filter((name) => existsSync(join(root, name)))
  return {
    ...Object.fromEntries(kept),
    bin: { coglabel: 'cli/main.js' },
    engines: { node: nodeRange },
    files,
  }
}

/** Paths of all files below a folder, relative to it, sorted. */
function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return files.map((path) => path.slice(resolve(folder).length + 1)).toSorted()
}
