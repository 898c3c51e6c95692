// DocVQA's files: {"data": [{"question", "image", "answers"}]}, scored by ANLS.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import { anls } from '../anls.ts'
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
import { parseAs } from './parse.ts'

const Data = z.looseObject({
  data: z
    .array(
      z.looseObject({
        question: z.string().min(1),
        image: z.string().optional(),
        // InfographicVQA's name for it.
        image_local_name: z.string().optional(),
        // Test sets have none.
        answers: z.array(z.string()).min(1).optional(),
      }),
    )
    .min(1),
})

const pattern = /(?:docvqa|infographics?vqa|(?:^|\/)(?:val|train|test)_v\d)[^/]*\.json$/i

export const docvqaFiles: BenchmarkLayout = {
  kind: 'docvqa',
  files: 'val_v1.0_withQT.json of DocVQA, or infographicsVQA_val_….json',
  matches: (names) => names.some((name) => pattern.test(name)),
  async read(files) {
    const name = fileLike(files, pattern, 'file of questions (val_v1.0_withQT.json)')
    const { data } = parseAs(Data, await files.readJson(name), name)
    const find = openImageFinder(files)
    const all = data.flatMap(({ question, answers, image, image_local_name: local = image }) =>
      local === undefined || answers === undefined ? [] : [{ key: local, question, answers }],
    )
    if (all.length === 0)
      throw new UserError(
        `no question of ${name} has both an image and answers; the test set's answers are not published, take val_v1.0_withQT.json`,
      )
    return benchmarkOf(firstImages(all, files, find))
  },
}

type Row = { key: string; question: string; answers: readonly string[] }

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'docvqa',
    about: `documents: ${rows.length} questions`,
    tasks: ['qa'],
    items: gatherItems(rows),
    score(said) {
      const judged = withAnswers(rows, said).map((row) => ({ ...row, score: anls(row.said, row.answers) }))
      const mean = judged.reduce((sum, { score }) => sum + score, 0) / judged.length
      return {
        rows: [{ name: 'ANLS', value: percent(mean), of: judged.length }],
        worst: judged
          .filter(({ score }) => score < 1)
          .toSorted((a, b) => a.score - b.score)
          .map((row) => worstAnswer(row, row.answers.join(', '))),
      }
    },
  }
}
