// VQAv2's files: questions, and annotations with the answers of ten people.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import { vqaAccuracy } from '../vqa.ts'
import {
  type Benchmark,
  type BenchmarkFiles,
  type BenchmarkLayout,
  type BenchmarkScore,
  fileLike,
  firstImages,
  gatherItems,
  openCocoFinder,
  percent,
  withAnswers,
  worstAnswer,
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
    const rows = firstImages(all, files, (key) => find(Number(key)))
    if (rows.length === 0)
      throw new UserError(`no question of ${asked} has its answers in ${known}; are they of the same split?`)
    return benchmarkOf(rows)
  },
}

type Row = { key: string; question: string; answers: readonly string[]; type: string }

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'vqa',
    about: `VQA: ${rows.length} questions with the answers of people`,
    tasks: ['qa'],
    items: gatherItems(rows),
    score(said) {
      const judged = withAnswers(rows, said).map((row) => ({
        ...row,
        accuracy: vqaAccuracy(row.said, row.answers),
        meant: vqaAccuracy(row.said, row.answers, { bugForBug: false }),
      }))
      const types = [...Map.groupBy(judged, ({ type }) => type)]
      return {
        rows: [
          meanRow(
            'accuracy',
            judged.map(({ accuracy }) => accuracy),
          ),
          ...(types.length === 1 ? [] : types).map(([type, own]) =>
            meanRow(
              `accuracy ${type}`,
              own.map(({ accuracy }) => accuracy),
            ),
          ),
          // Whoever's answers are whole sentences sees here what the published normalisation costs.
          meanRow(
            'accuracy as it was meant',
            judged.map(({ meant }) => meant),
          ),
        ],
        worst: judged
          .filter(({ accuracy }) => accuracy < 1)
          .toSorted((a, b) => a.accuracy - b.accuracy)
          .map((row) => worstAnswer(row, [...new Set(row.answers)].join(', '))),
      }
    },
  }
}

function meanRow(name: string, shares: readonly number[]): BenchmarkScore['rows'][number] {
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length
  return { name, value: percent(mean), of: shares.length }
}

/** The questions of the annotations' split: v2_OpenEnded_mscoco_val2014_questions.json for v2_mscoco_val2014_…. */
function questionsFor(files: BenchmarkFiles, annotations: string): string {
  const split = /(?:train|val|test)[^_/]*(?=_annotations)/i.exec(annotations)?.[0]
  const what = 'file of questions (v2_OpenEnded_mscoco_val2014_questions.json)'
  return fileLike({ ...files, split: split ?? files.split }, isQuestions, what)
}
