// What a quality gate is: it looks at one label, and at what else was said of the same image, and says what it found.
// It does not know models, nor what becomes of a label that it turns down.
import type { CheckSetting } from '../../schemas/check-setting.ts'
import type { LabelRecord, RecordCheck } from '../../schemas/label-record.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import type { TextMemory } from './text-memory.ts'

/** A label before it is a record: what gates may look at. */
export type Judged = Pick<
  LabelRecord,
  'task' | 'raw' | 'repairs' | 'samples' | 'inputs' | 'finishReason' | 'source'
> & {
  output: TaskOutput
  /** Each answer as it was among the image's other prompts, and by itself; where that was tried. */
  alone?: readonly AnswerTwice[]
  /** Each answer, and what the same question gets without the image; where that was tried. */
  blind?: readonly AnswerTwice[]
}

export type AnswerTwice = { question?: string; among: string; by: string }

/** What was asked a second time about one label. */
export type SecondAnswers = Pick<Judged, 'alone' | 'blind'>

/** A thing that a text names: where, and its noun in the singular. */
export type Thing = { start: number; end: number; head: string }

export type CheckContext = {
  /** Other labels of the same image, made together with this one. */
  siblings: readonly Judged[]
  /** What was said of other images of the run. */
  texts: TextMemory
  thingsIn: (text: string) => readonly Thing[]
}

export type Finding = Omit<RecordCheck, 'name'>

/** A share as a finding's score has it: to a thousandth. */
export function toScore(share: number): number {
  return Math.round(share * 1000) / 1000
}

/** A gate: one file, one line in the registry. */
export type Check = {
  name: string
  /** One line for the help text. */
  summary: string
  /** Whether a run that names no checks has this one. */
  isDefault: boolean
  /** What it does unless it is told otherwise. */
  action: CheckSetting['action']
  /** A label that it turns down is worth another try with sampling. */
  resamples?: true
  /** The task that must be asked after the judged one, for a gate that compares its answer. */
  needs?: { task: string; after: string }
  /** Each prompt must be asked a second time, by itself. */
  asksAlone?: true
  /** The tasks whose prompts must be asked again without the image, unless the run's setting names others. */
  asksBlind?: readonly string[]
  /** How often each prompt must be asked at least. */
  needsSamples?: number
  /** Null where the label is none of its business. Pure, but for what `texts` remembers. */
  judge(label: Judged, context: CheckContext): Finding | null
}
