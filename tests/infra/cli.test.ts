// The app as people run it: `npx cdk synth`, with no network, and what it bundles for Lambda.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { readRepositoryFile, repositoryRoot } from '../architecture/source-tree.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import type { Resource } from './synthesized.ts'

const run = promisify(execFile)
const cdk = join(repositoryRoot, 'node_modules/aws-cdk/bin/cdk')

/** No proxy answers there: whatever asks the network fails. */
const offline = { HTTPS_PROXY: 'http://127.0.0.1:9', HTTP_PROXY: 'http://127.0.0.1:9', CI: 'true' }

async function synth(flags: readonly string[]) {
  const output = await tempFolder()
  const args = [cdk, 'synth', '--quiet', '--output', output, ...flags]
  const env = { ...process.env, ...offline }
  return { output, ...(await run(process.execPath, args, { cwd: repositoryRoot, env })) }
}

test('synthesizes offline, and each function that it bundled is one that Lambda can call', async () => {
  const { output } = await synth([])
  const template = JSON.parse(await readFile(join(output, 'Pipeline.template.json'), 'utf8')) as {
    Resources: Record<string, Resource & { Metadata: { 'aws:asset:path': string } }>
  }
  const functions = Object.values(template.Resources).filter(({ Type }) => Type === 'AWS::Lambda::Function')
  expect(functions).toHaveLength(6)
  for (const { Properties, Metadata } of functions) {
    const [file, name] = String(Properties['Handler']).split('.')
    const path = join(output, Metadata['aws:asset:path'], `${file}.js`)
    const loaded = createRequire(path)(path) as Record<string, unknown>
    expect(loaded[name!]).toBeTypeOf('function')
    // Native modules would not run there.
    expect(existsSync(join(output, Metadata['aws:asset:path'], 'node_modules'))).toBe(false)
    expect(await readFile(path, 'utf8')).not.toMatch(/require\("(sharp|onnxruntime-node)"\)/)
  }
})

test('says what is wrong with settings in a sentence', async () => {
  const folder = await tempFolder()
  const path = join(folder, 'settings.json')
  await writeFile(path, JSON.stringify({ imagesBucket: 'one', labelsBucket: 'one' }))
  const failed = await synth(['-c', `config=${path}`]).catch((error: { stderr: string }) => error)
  expect(failed.stderr).toContain(
    'coglabel: imagesBucket and labelsBucket are both one; images and labels need',
  )
  expect(failed.stderr).not.toContain('at ')
})

test('the CLI is of the time of the library: a later one that was published by mistake cannot read it', () => {
  const { devDependencies } = JSON.parse(readRepositoryFile('package.json')) as {
    devDependencies: Record<string, string>
  }
  expect(devDependencies['aws-cdk']).toMatch(/^2\.\d{4}\.\d+$/)
  expect(devDependencies['aws-cdk-lib']).toMatch(/^2\.\d{3}\.\d+$/)
})
