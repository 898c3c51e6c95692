// DocVQA's files: {"data": [{"question", "image", "answers"}]}, scored by ANLS.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import { anls } from '../anls.ts'
import {
  type BenchmarkLayout,
  fileLike,
  firstImages,
  gatherItems,
  openImageFinder,
  percent,
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
    const rows = firstImages(all, files).map((row) => ({ ...row, key: find(row.key) }))
    return {
      kind: 'docvqa',
      about: `documents: ${rows.length} questions`,
      tasks: ['qa'],
      items: gatherItems(rows),
      score(said) {
        const judged = rows.map((row) => {
          const own = said.get(row.key)?.answers.get(row.question) ?? ''
          return { ...row, said: own, score: anls(own, row.answers) }
        })
        const mean = judged.reduce((sum, { score }) => sum + score, 0) / judged.length
        return {
          rows: [{ name: 'ANLS', value: percent(mean), of: judged.length }],
          worst: judged
            .filter(({ score }) => score < 1)
            .toSorted((a, b) => a.score - b.score)
            .map((row) => ({
              key: row.key,
              asked: row.question,
              said: row.said,
              expected: row.answers.join(', '),
            })),
        }
      },
    }
  },
}
