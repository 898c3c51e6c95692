// Which kinds of questions can be answered without the image: guesses by the question alone against chance. Pure; it does
// not know who asked or answered.

export type AnsweredQuestion = {
  kind: string
  question: string
  answer: string
  /** What the model said without the image, where it was asked. */
  blind?: string
}

export type GivenAway = {
  kind: string
  questions: number
  /** Share that is right when the kind's commonest answer is given to every question: chance. */
  chance: number
  /** The same when each question gets what is commonest for its very words on other images. */
  byWords: number
  /** The same for what the model says without the image; null where it was not asked. */
  blind: number | null
  /** Whether a guess beats chance by more than two of its standard errors. */
  isGivenAway: boolean
}

/** A row for each kind, in order of first appearance. */
export function measureGivenAway(asked: readonly AnsweredQuestion[]): GivenAway[] {
  const spelled = asked.map(({ kind, question, answer, blind }) => ({
    kind,
    question,
    answer: answerSpelling(answer),
    blind: blind === undefined ? null : answerSpelling(blind),
  }))
  return [...Map.groupBy(spelled, ({ kind }) => kind)].map(([kind, own]) => rowOf(kind, own))
}

/** Two answers that differ in case, points or spaces only are one. */
export function answerSpelling(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
}

type Spelled = { question: string; answer: string; blind: string | null }

function rowOf(kind: string, own: readonly Spelled[]): GivenAway {
  const shareOf = (some: readonly Spelled[], isRight: (one: Spelled) => boolean) =>
    some.filter(isRight).length / some.length
  const usual = commonest(counted(own))
  const chance = shareOf(own, ({ answer }) => answer === usual)
  const byQuestion = new Map(
    [...Map.groupBy(own, ({ question }) => question)].map(([question, some]) => [question, counted(some)]),
  )
  // An answer's own image tells nothing of it, and a question asked once is met as any of its kind.
  const byWords = shareOf(own, ({ question, answer }) => {
    const others = new Map(byQuestion.get(question))
    others.set(answer, (others.get(answer) ?? 0) - 1)
    return answer === (commonest(others) ?? usual)
  })
  const askedBlind = own.filter(({ blind }) => blind !== null)
  const blind = askedBlind.length === 0 ? null : shareOf(askedBlind, (one) => one.blind === one.answer)
  const isBeyond = (share: number, count: number) =>
    share - chance > 2 * Math.sqrt((chance * (1 - chance)) / count)
  return {
    kind,
    questions: own.length,
    chance,
    byWords,
    blind,
    isGivenAway: isBeyond(byWords, own.length) || (blind !== null && isBeyond(blind, askedBlind.length)),
  }
}

function counted(some: readonly Spelled[]): Map<string, number> {
  return new Map([...Map.groupBy(some, ({ answer }) => answer)].map(([answer, all]) => [answer, all.length]))
}

/** Of equal counts the first in the alphabet, so that the order of images does not matter; null where there is none. */
function commonest(counts: ReadonlyMap<string, number>): string | null {
  const [first] = [...counts]
    .filter(([, count]) => count > 0)
    .toSorted(([a, left], [b, right]) => right - left || (a < b ? -1 : 1))
  return first?.[0] ?? null
}
