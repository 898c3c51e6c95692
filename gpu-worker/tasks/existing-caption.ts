// Captions that are there already, beside the images: kept, added to, or told to the model. It does not know where they
// were found.
import { z } from 'zod'
import type { CaptionOutput } from '../../schemas/task-output.ts'
import { existingHint, ExistingMode, type TaskSpec } from '../../schemas/task-spec.ts'
import type { FilledPlan, ParsedAnswer } from './task.ts'
import type { PromptItem } from './variables.ts'

const Options = z.looseObject({ existing: ExistingMode.optional(), text: z.string().optional() })

/** Options of a caption task; overwriting is what happens without any. */
export function existingOptions(mode: ExistingMode | undefined): { options?: { existing: ExistingMode } } {
  return mode === undefined || mode === 'overwrite' ? {} : { options: { existing: mode } }
}

/** Whether the specs of a run want to know what stands beside an image. */
export function wantsExisting(specs: readonly TaskSpec[]): boolean {
  return specs.some(({ options }) => Options.safeParse(options).data?.existing !== undefined)
}

/** The prompts of a caption task for an image that may have a caption. */
export function fillExisting(spec: TaskSpec, { existing: text }: PromptItem): FilledPlan {
  const { existing: mode } = Options.parse(spec.options ?? {})
  const options = spec.options ?? {}
  if (mode === undefined || text === undefined)
    return { ok: true, prompts: spec.prompts, options, inputs: {} }
  const inputs = { existing: text }
  if (mode === 'keep') return { ok: true, prompts: [], options: { ...options, text }, inputs }
  if (mode === 'append') return { ok: true, prompts: spec.prompts, options: { ...options, text }, inputs }
  const prompts = spec.prompts.map((prompt) => ({
    ...prompt,
    question: `${prompt.question}${existingHint(text)}`,
  }))
  return { ok: true, prompts, options, inputs }
}

/** The caption that stands: the one that was kept, or both. */
export function joinExisting(spec: TaskSpec, said: () => ParsedAnswer): ParsedAnswer {
  const { text } = Options.parse(spec.options ?? {})
  if (spec.prompts.length === 0 && text !== undefined) return { ok: true, output: { text }, repairs: [] }
  const parsed = said()
  if (!parsed.ok || text === undefined) return parsed
  const output: CaptionOutput = { text: 'text' in parsed.output ? `${text} ${parsed.output.text}` : text }
  return { ...parsed, output }
}
