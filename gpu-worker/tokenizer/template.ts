// The three prompt forms of the CogVLM family. It knows neither tokens nor images: placeholders are ids, not text.
import type { PromptTemplate } from '../../schemas/model-manifest.ts'

/**
 * Renders a prompt as the released Hugging Face code does: `base` is the bare question and ignores history, `chat` and
 * `vqa` are turns of `Question: … Answer: …` with no space or newline after the last colon, because the model emits
 * the space itself.
 */
export function renderPrompt({
  template,
  history,
  question,
}: {
  template: PromptTemplate
  history: readonly { question: string; answer: string }[]
  question: string
}): string {
  if (template === 'base') return question
  const label = template === 'vqa' ? 'Short answer:' : 'Answer:'
  const turns = history.map((turn) => `Question: ${turn.question} ${label} ${turn.answer}\n`)
  return `${turns.join('')}Question: ${question} ${label}`
}
