// Writes what infra/README.md says of settings and stacks, which is what they say themselves. A script; a test calls
// its function and compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { App } from 'aws-cdk-lib'
import { InvariantError } from '../schemas/errors.ts'
import { buildStacks } from './app.ts'
import { configTable, parseConfig } from './config.ts'
import { drawStacks, type PictureTemplate } from './picture.ts'

/** The text with its picture and its table as they are now. */
export function renewReadme(text: string): string {
  return between(between(text, 'picture', `\`\`\`mermaid\n${draw()}\n\`\`\``), 'settings', configTable())
}

/** One fleet with a model, and the defaults: what most will have. */
function draw(): string {
  const context = { 'aws:cdk:bundling-stacks': [], 'aws:cdk:disable-asset-staging': true }
  const app = new App({ context: { ...flags(), ...context } })
  buildStacks(app, parseConfig({ fleets: [{ model: { digest: '0'.repeat(64), sizeBytes: 1 } }] }))
  const { stacks } = app.synth({ validateOnSynthesis: false })
  const ordered = ['Network', 'Data', 'Compute', 'Pipeline', 'Observe'].map((name) => [
    name,
    // What CDK wrote a moment ago.
    stacks.find(({ id }) => id === name)?.template as PictureTemplate,
  ])
  return drawStacks(Object.fromEntries(ordered) as Record<string, PictureTemplate>)
}

/** The flags that the CLI passes: they decide how things are called. */
function flags(): Record<string, unknown> {
  const file = new URL('../cdk.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { context: Record<string, unknown> }).context
}

function between(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name} -->\n`, `<!-- /${name} -->`]
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from === -1 || to === -1) throw new InvariantError(`the readme has no place for its ${name}`)
  return `${text.slice(0, from + begin.length)}${content}\n${text.slice(to)}`
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = fileURLToPath(new URL('README.md', import.meta.url))
  writeFileSync(path, renewReadme(readFileSync(path, 'utf8')))
}
