// Multiple choice: a line {"image", "question", "choices", "answer"} for each question, the answer a number or a letter.
import { z } from 'zod'
import { readChoice } from '../multiple-choice.ts'
import {
  type BenchmarkLayout,
  fileLike,
  firstImages,
  gatherItems,
  openImageFinder,
  percent,
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
    const rows = firstImages(all, files).map((row) => ({ ...row, key: find(row.key) }))
    return {
      kind: 'choices',
      about: `multiple choice: ${rows.length} questions`,
      tasks: ['qa'],
      items: gatherItems(rows),
      score(said) {
        const judged = rows.map((row) => {
          const own = said.get(row.key)?.answers.get(row.question) ?? ''
          return { ...row, said: own, meant: readChoice(own, row.choices) }
        })
        const share = (count: number) => percent(count / judged.length)
        return {
          rows: [
            {
              name: 'accuracy',
              value: share(judged.filter(({ meant, gold }) => meant === gold).length),
              of: judged.length,
            },
            {
              name: 'answers that mean a choice',
              value: share(judged.filter(({ meant }) => meant !== null).length),
              of: judged.length,
            },
          ],
          worst: judged
            .filter(({ meant, gold }) => meant !== gold)
            .map((row) => ({
              key: row.key,
              asked: row.question,
              said: row.said,
              expected: `${letterOf(row.gold)}. ${row.choices[row.gold] ?? ''}`,
            })),
        }
      },
    }
  },
}
