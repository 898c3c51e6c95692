// Builds the npm package, installs its tarball in an empty folder and runs it there as a stranger would.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))
const minutes = 60_000
let folder = ''

// The published package brings no Node: it runs on the one that runs this test, first on PATH.
function run(command: string, args: readonly string[], cwd: string): string {
  const path = [dirname(process.execPath), process.env['PATH'] ?? ''].join(':')
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_OPTIONS|VITEST|COGLABEL_)/i.test(name),
  )
  const env = { ...Object.fromEntries(inherited), PATH: path, npm_config_cache: join(folder, 'npm-cache') }
  return execFileSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: 8 * minutes,
    maxBuffer: 64 * 1024 * 1024,
  })
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'coglabel-package-'))
  const built = join(folder, 'built')
  run(process.execPath, [join(root, 'cli/build-package.ts'), built], root)
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], built)
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'stranger', private: true }))
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', `./${tarball}`], folder)
}, 10 * minutes)

afterAll(() => {
  if (folder !== '') rmSync(folder, { recursive: true, force: true })
})

it('answers --help', () => {
  expect(run('npx', ['--no-install', 'coglabel', '--help'], folder)).toContain('label')
})

it('ships no TypeScript, nothing of the repository alone and no development dependencies', () => {
  const installed = join(folder, 'node_modules/coglabel')
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' })
  expect(files.filter((path) => path.endsWith('.ts') || path.startsWith('tests'))).toEqual([])
  expect(files).not.toContain('cli/build-package.js')
  expect(files).not.toContain('cli/launch.js')
  // Written by the build script, read back.
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Record<
    string,
    unknown
  >
  expect(Object.keys(manifest)).not.toContain('devDependencies')
  expect(Object.keys(manifest)).not.toContain('private')
})

const readyToLabel =
  existsSync(join(root, 'models/scenes-v2/config.json')) && existsSync(join(root, 'examples/images'))

// Skipped only while the checkpoint or the examples are not in the tree yet.
it.skipIf(!readyToLabel)(
  'labels an example image',
  () => {
    const out = join(folder, 'out')
    const examples = join(folder, 'node_modules/coglabel/examples/images')
    run('npx', ['--no-install', 'coglabel', 'label', examples, '--limit', '1', '--out', out], folder)
    expect(readFileSync(join(out, 'labels.jsonl'), 'utf8')).toContain('"status":"ok"')
  },
  10 * minutes,
)
