// Whether a unified model knows when to answer in words and when in boxes: "Where is the dog?" against "Give its box."
//   node bench/answer-kind.ts SCENES [--model models/scenes-v2] [--count 200]
// SCENES is a folder of examples/scenes/make.ts. Each of the first `count` scenes gets one question of each kind, half of
// them about something that is not there. Prints a JSON line for each wrong kind of answer and one for the shares.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openEngineForModel } from '../cli/open-model.ts'
import { pick, createRandom } from '../examples/scenes/random.ts'
import { readWorld } from '../examples/scenes/world.ts'
import { decodeImage } from '../gpu-worker/image/decode.ts'
import { preprocess } from '../gpu-worker/image/preprocess.ts'
import { GoldLine } from '../schemas/gold.ts'
import { greedySampling } from '../schemas/sampling.ts'

/** Ways to ask for a place that do not ask for a box: training answers them in words. */
const ambiguous = [
  'Where is the {}?',
  'In which part of the image is the {}?',
  'Where in the image is the {}?',
] as const

const explicit = [
  'Where is the {}? Give its box.',
  'Find the {} and give its box.',
  'Find the {}. Give its coordinates.',
  'Give the box of the {}.',
  'Give the coordinates of the {}.',
  'Where is the {}? Answer with a box.',
  'Where is the {}? Answer with coordinates.',
  'Locate the {}. Answer in [[x0,y0,x1,y1]] format.',
] as const

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: 'models/scenes-v2' },
    count: { type: 'string', default: '200' },
  },
})
const [folder] = positionals
if (folder === undefined) throw new Error('usage: node bench/answer-kind.ts SCENES')

const world = await readWorld()
const lines = (await readFile(join(folder, 'gold.jsonl'), 'utf8'))
  .trim()
  .split('\n')
  .slice(0, Number(values.count))
const random = createRandom('answer kind')
const engine = await openEngineForModel({ modelFolder: values.model })
const wrong = { ambiguous: 0, explicit: 0 }
try {
  for (const [index, line] of lines.entries()) {
    const gold = GoldLine.parse(JSON.parse(line))
    const there = new Set(gold.objects.map(({ name }) => name))
    const absent = world.concepts.map(({ name }) => name).filter((name) => !there.has(name))
    const subject = index % 2 === 0 ? pick(random, [...there]) : pick(random, absent)
    const questions = [pick(random, ambiguous), pick(random, explicit)].map((form) =>
      form.replace('{}', subject),
    )
    const answers = await ask(join(folder, gold.key), questions)
    const kinds = answers.map((answer) => (answer.includes('[[') ? 'boxes' : 'words'))
    // Of something that is not there, words are right for either: "There is no dog."
    const isDenied = (answer: string) => /^There (is|are) no /.test(answer)
    const isWrong = {
      ambiguous: kinds[0] !== 'words',
      explicit: kinds[1] !== 'boxes' && !isDenied(answers[1] ?? ''),
    }
    for (const kind of ['ambiguous', 'explicit'] as const) {
      if (!isWrong[kind]) continue
      wrong[kind] += 1
      const at = kind === 'ambiguous' ? 0 : 1
      console.log(JSON.stringify({ image: gold.key, kind, question: questions[at], answer: answers[at] }))
    }
  }
} finally {
  await engine.close()
}
console.log(
  JSON.stringify({
    model: engine.info.model.name,
    weights: engine.info.model.weights,
    asked: lines.length,
    wrong,
  }),
)

async function ask(path: string, questions: readonly string[]): Promise<string[]> {
  const decoded = await decodeImage(await readFile(path))
  if (!decoded.ok) throw new Error(decoded.failure.message)
  const session = await engine.openImage(preprocess({ ...decoded.image, ...engine.info.image }))
  try {
    const prompts = questions.map((question) => ({
      template: engine.info.template,
      history: [],
      question,
      maxNewTokens: 64,
      sampling: greedySampling,
    }))
    return (await session.generate(prompts)).map(({ text }) => text)
  } finally {
    await session.close()
  }
}
