// MME (Fu et al. 2023): two yes-no questions about each image, one of each answer, in fourteen subtasks. It does not
// know who answered.

const perceptionSubtasks = [
  'existence',
  'count',
  'position',
  'color',
  'posters',
  'celebrity',
  'scene',
  'landmark',
  'artwork',
  'OCR',
] as const
const reasoningSubtasks = [
  'commonsense_reasoning',
  'numerical_calculation',
  'text_translation',
  'code_reasoning',
] as const

export type MmeAnswer = { subtask: string; image: string; said: string; gold: 'yes' | 'no' }

export type MmeSubtask = {
  subtask: string
  /** Share of questions answered rightly. */
  accuracy: number
  /** Share of images with both questions right. */
  accuracyPlus: number
  /** Both in percent, added: 200 at most. */
  score: number
  questions: number
}

export type MmeScore = { subtasks: MmeSubtask[]; perception: number; reasoning: number; total: number }

/** A subtask that is not among the fourteen has its row but counts in no total. */
export function scoreMme(answers: readonly MmeAnswer[]): MmeScore {
  const groups = Map.groupBy(answers, ({ subtask }) => subtask)
  const subtasks = [...groups].map(([subtask, own]) => scoreSubtask(subtask, own))
  return { subtasks, ...mmeTotals(Object.fromEntries(subtasks.map((row) => [row.subtask, row.score]))) }
}

/** Sums of subtask scores: perception to 2000, reasoning (cognition) to 800. */
export function mmeTotals(scores: Readonly<Record<string, number>>): Omit<MmeScore, 'subtasks'> {
  const sum = (names: readonly string[]) => names.reduce((total, name) => total + (scores[name] ?? 0), 0)
  const [perception, reasoning] = [sum(perceptionSubtasks), sum(reasoningSubtasks)]
  return { perception, reasoning, total: perception + reasoning }
}

function scoreSubtask(subtask: string, answers: readonly MmeAnswer[]): MmeSubtask {
  const isRight = ({ said, gold }: MmeAnswer) => readMmeAnswer(said) === gold
  const images = [...Map.groupBy(answers, ({ image }) => image).values()]
  const accuracy = answers.filter(isRight).length / answers.length
  const accuracyPlus = images.filter((own) => own.every(isRight)).length / images.length
  return {
    subtask,
    accuracy,
    accuracyPlus,
    score: 100 * accuracy + 100 * accuracyPlus,
    questions: answers.length,
  }
}

/** As the public harness reads it: the whole answer, one letter, or the first four characters; else it is wrong. */
export function readMmeAnswer(said: string): 'yes' | 'no' | null {
  const text = said.toLowerCase().trim().replaceAll('.', '')
  if (text === 'yes' || text === 'y') return 'yes'
  if (text === 'no' || text === 'n') return 'no'
  const start = text.slice(0, 4)
  if (start.includes('yes')) return 'yes'
  return start.includes('no') ? 'no' : null
}
