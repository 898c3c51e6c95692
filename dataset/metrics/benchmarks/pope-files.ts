// POPE's files: a line {"question_id", "image", "text", "label"} for each question.
import { z } from 'zod'
import { readPopeAnswer, scorePope } from '../pope.ts'
import {
  type Benchmark,
  type BenchmarkLayout,
  firstImages,
  gatherItems,
  openImageFinder,
  percent,
  withAnswers,
  worstAnswer,
} from './benchmark.ts'
import { parseLineAs, YesNo } from './parse.ts'

const Line = z.looseObject({ image: z.string(), text: z.string().min(1), label: YesNo })
const pattern = /pope[^/]*\.jsonl?$/i

export const popeFiles: BenchmarkLayout = {
  kind: 'pope',
  files: 'coco_pope_random.json and its like',
  matches: (names) => names.some((name) => pattern.test(name)),
  async read(files) {
    const find = openImageFinder(files)
    const splits = files.names.filter((name) => pattern.test(name))
    const rows = await Promise.all(
      splits.map(async (split) => {
        const lines = await files.readLines(split)
        return lines.map((line, index) => {
          const { image, text, label } = parseLineAs(Line, line, `line ${index + 1} of ${split}`)
          return { split, key: image, question: text, gold: label }
        })
      }),
    )
    return benchmarkOf(firstImages(rows.flat(), files, find))
  },
}

type Row = { split: string; key: string; question: string; gold: 'yes' | 'no' }

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'pope',
    about: `POPE: ${rows.length} questions whether a thing is there`,
    tasks: ['qa'],
    items: gatherItems(rows),
    score(said) {
      const answered = withAnswers(rows, said)
      const splits = [...Map.groupBy(answered, ({ split }) => split)]
      return {
        rows: splits.flatMap(([split, own]) => {
          const name = splits.length === 1 ? '' : `${split.replace(/^.*\/|\.jsonl?$/g, '')} `
          const { questions, ...shares } = scorePope(own)
          // The published script takes every answer that is not no for a yes, also none.
          const read = { ...shares, 'accuracy read strictly': scorePope(own, 'strict').accuracy }
          return Object.entries(read).map(([metric, value]) => ({
            name: `${name}${metric}`,
            value: percent(value),
            of: questions,
          }))
        }),
        worst: answered
          .filter((row) => readPopeAnswer(row.said) !== row.gold)
          .map((row) => worstAnswer(row, row.gold)),
      }
    },
  }
}
