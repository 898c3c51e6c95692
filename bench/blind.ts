// Which kinds of qa's questions can be answered without the image: each question that is made up about a scene is asked
// with the image and without, and the answers are compared (dataset/metrics/given-away.ts).
//   node bench/blind.ts MODEL SCENES [--images 240] [--styles conversation,detail]
//     [--caption "Describe the image."]
// SCENES is what examples/scenes/make.ts made. Prints a JSON line a kind and a table.
import { readdir, readFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type AnsweredQuestion, measureGivenAway } from '../dataset/metrics/given-away.ts'
import type { ImageSession, PromptRequest } from '../gpu-worker/engine/contract.ts'
import { openEngineHost } from '../gpu-worker/engine/host.ts'
import { defaultDecodeLimits as limits } from '../gpu-worker/image/decode.ts'
import { openDecoderPool } from '../gpu-worker/image/decoder-pool.ts'
import { questionsAbout, questionStyles } from '../gpu-worker/tasks/question-templates.ts'
import { greedySampling } from '../schemas/sampling.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    images: { type: 'string', default: '240' },
    styles: { type: 'string', default: 'conversation,detail' },
    caption: { type: 'string', default: 'Describe the image.' },
  },
})
const [modelFolder = '', scenes = ''] = positionals
const styles = questionStyles.filter((style) => values.styles.split(',').includes(style))
const engine = await openEngineHost({ modelFolder })
const pool = openDecoderPool()

const names = (await readdir(join(scenes, 'images'))).toSorted().slice(0, Number(values.images))
const dark = await engine.openImage(null)
const asked: AnsweredQuestion[] = []
for (const name of names) asked.push(...(await askAbout(name)))
await Promise.all([engine.close(), pool.close()])

const rows = measureGivenAway(asked)
for (const row of rows) console.log(JSON.stringify({ ...row, load: loadavg()[0] }))
console.log('| kind | asked | chance | by words | blind | given away |\n|---|---|---|---|---|---|')
for (const { kind, questions, chance, byWords, blind, isGivenAway } of rows) {
  const shares = [chance, byWords, blind ?? 0].map(percent)
  console.log(`| ${[kind, questions, ...shares, isGivenAway ? 'yes' : 'no'].join(' | ')} |`)
}

async function askAbout(name: string): Promise<AnsweredQuestion[]> {
  const wanted = { limits, form: engine.info.image }
  const result = await pool.prepare(await readFile(join(scenes, 'images', name)), wanted)
  if (!result.ok) throw new Error(`${name}: ${result.failure.message}`)
  const session = await engine.openImage(result.prepared.shown)
  const [caption = ''] = await answer(session, [values.caption])
  const questions = questionsAbout(caption, styles)
  const texts = questions.map(({ question }) => question)
  const [seen, blind] = [await answer(session, texts), await answer(dark, texts)]
  await session.close()
  return questions.map(({ kind, question }, at) => ({
    kind,
    question,
    answer: seen[at] ?? '',
    blind: blind[at] ?? '',
  }))
}

async function answer(session: ImageSession, questions: readonly string[]): Promise<string[]> {
  const prompts = questions.map((question): PromptRequest => ({
    template: engine.info.template,
    history: [],
    question,
    maxNewTokens: 64,
    sampling: greedySampling,
  }))
  return prompts.length === 0 ? [] : (await session.generate(prompts)).map(({ text }) => text)
}

function percent(value: number): string {
  return (value * 100).toFixed(1)
}
