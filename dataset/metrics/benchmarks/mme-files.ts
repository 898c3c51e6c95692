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
  withAnswers,
  worstAnswer,
} from './benchmark.ts'
import { YesNo } from './parse.ts'

/** Folders of a subtask, in the layout that keeps texts and images apart. */
const textFolder = 'questions_answers_YN'
const imageFolder = 'images'

export const mmeFiles: BenchmarkLayout = {
  kind: 'mme',
  files: 'SUBTASK/IMAGE.txt beside SUBTASK/IMAGE.jpg, or questions_answers_YN/ beside images/',
  matches: (names) =>
    names.some((name) =>
      /(?:^|\/)(?:existence|count|OCR|commonsense_reasoning)\/(?:[^/]+\/)?[^/]+\.txt$/.test(name),
    ),
  async read(files) {
    const images = files.imageNames
    const byStem = new Map(images.map((path) => [path.replace(/\.\w+$/, ''), path]))
    const folders = new Set(images.map(folderOf))
    const rows = await Promise.all(
      files.names
        .filter((name) => /(?:^|\/)(?!\.)[^/]+\.txt$/.test(name))
        .map((name) => ({ name, ...placeOf(name) }))
        // The released archive has results of models, and notes, where no images are.
        .filter(({ places }) => places.some((place) => folders.has(place)))
        .map(async ({ name, places, subtask }) => {
          const stem = name.slice(folderOf(name).length + 1, -'.txt'.length)
          const key = places.map((place) => byStem.get(`${place}/${stem}`)).find((path) => path !== undefined)
          if (key !== undefined) return await readText(name, { key, subtask, files })
          throw new UserError(
            `${files.folder} has ${name} but no image of that name in ${places.join(' or ')}`,
          )
        }),
    )
    if (rows.length === 0)
      throw new UserError(
        `${files.folder} has texts of MME but no image of that name beside any; add the images`,
      )
    return benchmarkOf(firstImages(rows.flat(), files, (key) => key))
  },
}

type Row = { subtask: string; key: string; question: string; gold: 'yes' | 'no' }

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/** The subtask of a text, and where its image may be. */
function placeOf(name: string): { subtask: string; places: string[] } {
  const folder = folderOf(name)
  const isApart = [textFolder, imageFolder].includes(folder.split('/').at(-1) ?? '')
  const base = isApart ? folderOf(folder) : folder
  const places = [...new Set([folder, `${base}/${imageFolder}`, base])]
  return { subtask: base.split('/').at(-1) ?? '', places }
}

type Found = { key: string; subtask: string; files: BenchmarkFiles }

async function readText(name: string, { key, subtask, files }: Found): Promise<Row[]> {
  const lines = await files.readLines(name)
  return lines.map((line) => {
    const [question = '', answer = ''] = line.split('\t')
    const gold = YesNo.safeParse(answer).data
    if (gold === undefined || question.trim() === '')
      throw new UserError(
        `${name} has the line ${JSON.stringify(line.slice(0, 120))}; expected a question, a tab and Yes or No`,
      )
    return { subtask, key, question: question.trim(), gold }
  })
}

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'mme',
    about: `MME: ${rows.length} questions in ${new Set(rows.map(({ subtask }) => subtask)).size} subtasks`,
    tasks: ['qa'],
    items: gatherItems(rows),
    score(said) {
      const answered = withAnswers(rows, said).map((row) => ({ ...row, image: row.key }))
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
          .map((row) => worstAnswer(row, row.gold)),
      }
    },
  }
}
