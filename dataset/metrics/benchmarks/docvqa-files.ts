// DocVQA's files: {"data": [{"question", "image", "answers"}]}, scored by ANLS.
import { z } from 'zod'
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
      z.looseObject({ question: z.string().min(1), image: z.string(), answers: z.array(z.string()).min(1) }),
    )
    .min(1),
})

const pattern = /(?:docvqa|infographics?vqa|(?:^|\/)(?:val|train|test)_v\d)[^/]*\.json$/i

export const docvqaFiles: BenchmarkLayout = {
  kind: 'docvqa',
  files: 'docvqa….json or val_v1.0….json',
  matches: (names) => names.some((name) => pattern.test(name)),
  async read(files) {
    const name = fileLike(files, pattern, 'docvqa….json')
    const { data } = parseAs(Data, await files.readJson(name), name)
    const find = openImageFinder(files)
    const all = data.map(({ question, image, answers }) => ({ key: find(image), question, answers }))
    const rows = firstImages(all, files)
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
