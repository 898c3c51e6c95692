// MME's files: a folder for each subtask, and beside each image a text file with "question<tab>Yes" a line.
import { UserError } from '../../../schemas/errors.ts'
import { readMmeAnswer, scoreMme } from '../mme.ts'
import {
  type Benchmark,
  type BenchmarkFiles,
  type BenchmarkLayout,
  firstImages,
  gatherItems,
  percent,
} from './benchmark.ts'
import { YesNo } from './parse.ts'

const pattern = /^(?:.*\/)?([\w-]+)\/(?:questions_answers_YN\/)?([^/]+)\.txt$/

export const mmeFiles: BenchmarkLayout = {
  kind: 'mme',
  files: 'SUBTASK/IMAGE.txt beside SUBTASK/IMAGE.jpg (or in images/)',
  matches: (names) =>
    names.some((name) =>
      /(?:^|\/)(?:existence|count|OCR|commonsense_reasoning)\/(?:[^/]+\/)?[^/]+\.txt$/.test(name),
    ),
  async read(files) {
    const texts = files.names.filter((name) => pattern.test(name))
    const rows = await Promise.all(texts.map(async (name) => await readText(name, files)))
    return benchmarkOf(firstImages(rows.flat(), files))
  },
}

type Row = { subtask: string; key: string; question: string; gold: 'yes' | 'no' }

async function readText(name: string, files: BenchmarkFiles): Promise<Row[]> {
  const [, subtask = '', stem = ''] = pattern.exec(name) ?? []
  const image = files.names.find((other) => {
    const place = other.slice(0, other.lastIndexOf('/'))
    return (
      other !== name &&
      !other.endsWith('.txt') &&
      other.startsWith(`${place}/${stem}.`) &&
      place.includes(subtask)
    )
  })
  if (image === undefined)
    throw new UserError(`${files.folder} has ${name} but no image of that name beside it`)
  const lines = await files.readLines(name)
  return lines.map((line) => {
    const [question = '', answer = ''] = line.split('\t')
    const gold = YesNo.safeParse(answer).data
    if (gold === undefined || question.trim() === '')
      throw new UserError(
        `${name} has the line ${JSON.stringify(line.slice(0, 120))}; expected a question, a tab and Yes or No`,
      )
    return { subtask, key: image, question: question.trim(), gold }
  })
}

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'mme',
    about: `MME: ${rows.length} questions in ${new Set(rows.map(({ subtask }) => subtask)).size} subtasks`,
    tasks: ['qa'],
    items: gatherItems(rows),
    score(said) {
      const answered = rows.map((row) => ({
        ...row,
        image: row.key,
        said: said.get(row.key)?.answers.get(row.question) ?? '',
      }))
      const score = scoreMme(answered)
      return {
        rows: [
          ...score.subtasks.flatMap(({ subtask, accuracy, accuracyPlus, score: points, questions }) => [
            { name: `${subtask} accuracy`, value: percent(accuracy), of: questions },
            { name: `${subtask} accuracy+`, value: percent(accuracyPlus), of: questions },
            { name: `${subtask} score (of 200)`, value: points, of: questions },
          ]),
          { name: 'perception (of 2000)', value: score.perception, of: rows.length },
          { name: 'reasoning (of 800)', value: score.reasoning, of: rows.length },
          { name: 'total (of 2800)', value: score.total, of: rows.length },
        ],
        worst: answered
          .filter((row) => readMmeAnswer(row.said) !== row.gold)
          .map((row) => ({ key: row.key, asked: row.question, said: row.said, expected: row.gold })),
      }
    },
  }
}
