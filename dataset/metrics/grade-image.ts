// Everything that was said about one image against its gold line, as counts of right out of all. Pure; it does not know
// records, files or how counts are shown.
import type { GoldLine, GoldQuestion } from '../../schemas/gold.ts'
import type { Box } from '../../schemas/task-output.ts'
import { countFoundBoxes } from './box-accuracy.ts'
import { judgeCaption } from './caption-objects.ts'
import { isCount, isCountRight } from './count.ts'
import { asksNameAtBox, isNameRight, normaliseText } from './name-at-box.ts'
import type { Vocabulary } from './vocabulary.ts'
import { isYesNo, isYesNoRight } from './yes-no.ts'

/** What a run said about one image; null and absent are missing answers. */
export type Said = {
  caption: string | null
  /** The grounded caption's phrases. */
  phrases: readonly { text: string; boxes: readonly Box[] }[] | null
  /** Answers in words, by exact question. */
  answers: ReadonlyMap<string, string>
  /** Answers in boxes, by exact question. */
  boxes: ReadonlyMap<string, readonly Box[]>
}

/** A share of one metric on one image. */
export type Grade = {
  metric: string
  right: number
  total: number
  /** Answers that are not there at all; they are wrong. */
  missing: number
  question?: string
}

/** Grades one image. A metric with nothing to get right on this image has total 0. */
export function gradeImage(gold: GoldLine, said: Said, vocabulary: Vocabulary): Grade[] {
  return [
    ...gradeCaption(gold, said, vocabulary),
    ...gradePhrases(gold, said, vocabulary),
    ...gold.questions.map((question) => gradeQuestion(question, said, vocabulary)),
  ]
}

function gradeCaption({ objects }: GoldLine, { caption }: Said, vocabulary: Vocabulary): Grade[] {
  const names = objects.map(({ name }) => name)
  const judged = judgeCaption(caption, names, vocabulary)
  const missing = caption === null ? 1 : 0
  return [
    { metric: 'caption recall', right: judged.right, total: judged.there, missing },
    { metric: 'caption precision', right: judged.right, total: judged.named, missing },
    { metric: 'caption counts', right: judged.rightlyCounted, total: judged.there, missing },
  ]
}

/** Each object must have a box under a phrase that names it; repeated names are matched greedily by overlap. */
function gradePhrases({ objects }: GoldLine, { phrases }: Said, vocabulary: Vocabulary): Grade[] {
  const saidByName = new Map<string, Box[]>()
  for (const { text, boxes } of phrases ?? []) {
    const name = vocabulary.mentionsIn(text)[0]?.name ?? normaliseText(text)
    saidByName.set(name, [...(saidByName.get(name) ?? []), ...boxes])
  }
  const truthByName = Map.groupBy(objects, ({ name }) => vocabulary.nameOf(name) ?? name)
  let found = 0
  for (const [name, truth] of truthByName) {
    found += countFoundBoxes(
      saidByName.get(name) ?? [],
      truth.map(({ box }) => box),
    )
  }
  const saidCount = [...saidByName.values()].reduce((sum, boxes) => sum + boxes.length, 0)
  const missing = phrases === null ? 1 : 0
  return [
    { metric: 'caption boxes Acc@0.5', right: found, total: objects.length, missing },
    { metric: 'caption boxes precision', right: found, total: saidCount, missing },
  ]
}

/** The gold answer decides how it is graded: boxes, yes or no, a number, a name, else the text itself. */
function gradeQuestion(gold: GoldQuestion, said: Said, vocabulary: Vocabulary): Grade {
  const { question, answer } = gold
  const truth = readGoldBoxes(answer)
  if (truth.length > 0) {
    const boxes = said.boxes.get(question)
    const right = countFoundBoxes(boxes ?? [], truth)
    return {
      metric: 'asked box Acc@0.5',
      right,
      total: truth.length,
      missing: boxes === undefined ? 1 : 0,
      question,
    }
  }
  const words = said.answers.get(question)
  const { metric, isRight } = graderOf(gold, vocabulary)
  const right = words !== undefined && isRight(words) ? 1 : 0
  return { metric, right, total: 1, missing: words === undefined ? 1 : 0, question }
}

function graderOf(
  { question, answer, kind }: GoldQuestion,
  vocabulary: Vocabulary,
): { metric: string; isRight: (words: string) => boolean } {
  if (isYesNo(answer)) return { metric: 'yes/no', isRight: (words) => isYesNoRight(words, answer) }
  if (isCount(answer)) return { metric: 'count exact', isRight: (words) => isCountRight(words, answer) }
  if (asksNameAtBox(question))
    return { metric: 'name at box', isRight: (words) => isNameRight(words, answer, vocabulary) }
  return { metric: kind, isRight: (words) => normaliseText(words) === normaliseText(answer) }
}

/** The boxes of a gold answer, [[x0,y0,x1,y1;…]] in thousandths; an empty list when it is words. */
export function readGoldBoxes(answer: string): Box[] {
  const inside = /\[\[([\d,;\s.]+)\]\]/.exec(answer)?.[1] ?? ''
  return inside.split(';').flatMap((text) => {
    const [x0, y0, x1, y1, ...rest] = text.split(',').map((number) => Number(number) / 1000)
    const isBox =
      x0 !== undefined && y0 !== undefined && x1 !== undefined && y1 !== undefined && rest.length === 0
    return isBox ? [[x0, y0, x1, y1] satisfies Box] : []
  })
}
