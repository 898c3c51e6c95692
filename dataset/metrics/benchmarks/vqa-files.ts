// VQAv2's files: questions, and annotations with the answers of ten people.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import { vqaAccuracy } from '../vqa.ts'
import {
  type BenchmarkFiles,
  type BenchmarkLayout,
  fileLike,
  firstImages,
  gatherItems,
  openCocoFinder,
  percent,
} from './benchmark.ts'
import { parseAs } from './parse.ts'

const Id = z.union([z.int(), z.string()]).transform(String)
const Questions = z.looseObject({
  questions: z
    .array(z.looseObject({ question_id: Id, image_id: z.coerce.number(), question: z.string().min(1) }))
    .min(1),
})
const Annotations = z.looseObject({
  annotations: z.array(
    z.looseObject({
      question_id: Id,
      answer_type: z.string().optional(),
      answers: z.array(z.looseObject({ answer: z.string() })).min(1),
    }),
  ),
})

const isQuestions = /questions[^/]*\.json$/i
const isAnnotations = /annotations[^/]*\.json$/i

export const vqaFiles: BenchmarkLayout = {
  kind: 'vqa',
  files: 'v2_…_questions.json and v2_…_annotations.json',
  matches: (names) =>
    names.some((name) => isQuestions.test(name)) && names.some((name) => isAnnotations.test(name)),
  async read(files) {
    const known = fileLike(files, isAnnotations, 'file of annotations (v2_mscoco_val2014_annotations.json)')
    const asked = questionsFor(files, known)
    const { questions } = parseAs(Questions, await files.readJson(asked), asked)
    const { annotations } = parseAs(Annotations, await files.readJson(known), known)
    const find = openCocoFinder(files)
    const byId = new Map(annotations.map((annotation) => [annotation.question_id, annotation]))
    const all = questions.flatMap(({ question_id: id, image_id: image, question }) => {
      const annotation = byId.get(id)
      if (annotation === undefined) return []
      const answers = annotation.answers.map(({ answer }) => answer)
      return [{ key: String(image), question, answers, type: annotation.answer_type ?? 'all' }]
    })
    // Only images that are asked about have to be there.
    const rows = firstImages(all, files).map((row) => ({ ...row, key: find(Number(row.key)) }))
    if (rows.length === 0)
      throw new UserError(`no question of ${asked} has its answers in ${known}; are they of the same split?`)
    return {
      kind: 'vqa',
      about: `VQA: ${rows.length} questions with the answers of people`,
      tasks: ['qa'],
      items: gatherItems(rows),
      score(said) {
        const judged = rows.map((row) => {
          const own = said.get(row.key)?.answers.get(row.question) ?? ''
          return {
            ...row,
            said: own,
            accuracy: vqaAccuracy(own, row.answers),
            meant: vqaAccuracy(own, row.answers, { bugForBug: false }),
          }
        })
        const mean = (values: readonly number[]) =>
          values.reduce((sum, value) => sum + value, 0) / values.length
        const types = [...Map.groupBy(judged, ({ type }) => type)]
        return {
          rows: [
            {
              name: 'accuracy',
              value: percent(mean(judged.map(({ accuracy }) => accuracy))),
              of: judged.length,
            },
            ...(types.length === 1
              ? []
              : types.map(([type, own]) => ({
                  name: `accuracy ${type}`,
                  value: percent(mean(own.map(({ accuracy }) => accuracy))),
                  of: own.length,
                }))),
            // Whoever's answers are whole sentences sees here what the published normalisation costs.
            {
              name: 'accuracy as it was meant',
              value: percent(mean(judged.map(({ meant }) => meant))),
              of: judged.length,
            },
          ],
          worst: judged
            .filter(({ accuracy }) => accuracy < 1)
            .toSorted((a, b) => a.accuracy - b.accuracy)
            .map((row) => ({
              key: row.key,
              asked: row.question,
              said: row.said,
              expected: [...new Set(row.answers)].join(', '),
            })),
        }
      },
    }
  },
}

/** The questions of the annotations' split: v2_OpenEnded_mscoco_val2014_questions.json for v2_mscoco_val2014_…. */
function questionsFor(files: BenchmarkFiles, annotations: string): string {
  const split = /(?:train|val|test)[^_/]*(?=_annotations)/i.exec(annotations)?.[0]
  const what = 'file of questions (v2_OpenEnded_mscoco_val2014_questions.json)'
  return fileLike({ ...files, split: split ?? files.split }, isQuestions, what)
}
