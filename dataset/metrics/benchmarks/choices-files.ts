// Multiple choice: a line {"image", "question", "choices", "answer"} for each question, the answer a number or a letter.
import { z } from 'zod'
import { readChoice } from '../multiple-choice.ts'
import {
  type Benchmark,
  type BenchmarkLayout,
  fileLike,
  firstImages,
  gatherItems,
  openImageFinder,
  percent,
  withAnswers,
  worstAnswer,
} from './benchmark.ts'
import { parseLineAs } from './parse.ts'

const letterOf = (index: number) => String.fromCharCode(65 + index)
const Line = z
  .looseObject({
    image: z.string(),
    question: z.string().min(1),
    choices: z.array(z.string().min(1)).min(2).max(26),
    answer: z.union([
      z.int().nonnegative(),
      z
        .string()
        .regex(/^[A-Za-z]$/)
        .transform((letter) => letter.toUpperCase().charCodeAt(0) - 65),
    ]),
  })
  .refine(({ choices, answer }) => answer < choices.length, {
    error: 'the answer is none of the choices; the first has the number 0 and the letter A',
  })

const pattern = /choices?[^/]*\.jsonl$/i

export const choicesFiles: BenchmarkLayout = {
  kind: 'choices',
  files: '…choices.jsonl',
  matches: (names) => names.some((name) => pattern.test(name)),
  async read(files) {
    const name = fileLike(files, pattern, '…choices.jsonl')
    const find = openImageFinder(files)
    const lines = await files.readLines(name)
    const all = lines.map((line, index) => {
      const { image, question, choices, answer } = parseLineAs(Line, line, `line ${index + 1} of ${name}`)
      const listed = choices.map((choice, at) => `${letterOf(at)}. ${choice}`).join(' ')
      return { key: image, question: `${question} ${listed} Answer with the letter.`, choices, gold: answer }
    })
    return benchmarkOf(firstImages(all, files, find))
  },
}

type Row = { key: string; question: string; choices: readonly string[]; gold: number }

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'choices',
    about: `multiple choice: ${rows.length} questions`,
    tasks: ['qa'],
    items: gatherItems(rows),
    score(said) {
      const judged = withAnswers(rows, said).map((row) => ({
        ...row,
        meant: readChoice(row.said, row.choices),
      }))
      const shareRow = (name: string, isCounted: (one: (typeof judged)[number]) => boolean) => ({
        name,
        value: percent(judged.filter(isCounted).length / judged.length),
        of: judged.length,
      })
      return {
        rows: [
          shareRow('accuracy', ({ meant, gold }) => meant === gold),
          shareRow('answers that mean a choice', ({ meant }) => meant !== null),
        ],
        worst: judged
          .filter(({ meant, gold }) => meant !== gold)
          .map((row) => worstAnswer(row, `${letterOf(row.gold)}. ${row.choices[row.gold] ?? ''}`)),
      }
    },
  }
}
