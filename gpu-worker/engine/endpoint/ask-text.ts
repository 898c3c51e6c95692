// What a server is asked, in words: the task's question, and the form of the answer where a local engine would hold it.
// Pure; it does not know how the question is sent.
import type { Constraint } from '../../../schemas/constraint.ts'
import type { PromptRequest } from '../contract.ts'
import type { BoxDialect, PictureSize } from './box-dialects.ts'
import { askForBoxes, writeQuestion } from './box-text.ts'

export type BoxFrame = { dialect: BoxDialect | null; size: PictureSize | null }

/** The user's message. */
export function askText({ question, form, constraint }: PromptRequest, { dialect, size }: BoxFrame): string {
  const asked = dialect === null || size === null ? question : writeQuestion(question, dialect, size)
  const hint = hintOf(form ?? constraint, dialect)
  return hint === '' ? asked : `${asked}\n${hint}`
}

function hintOf(form: Constraint | undefined, dialect: BoxDialect | null): string {
  switch (form?.kind) {
    case undefined:
      return ''
    case 'boxes':
      return dialect === null ? '' : askForBoxes(dialect, form.text)
    case 'yes-no':
      return 'Answer yes or no.'
    case 'number':
      return 'Answer with one number.'
    case 'choices':
      return `Answer with one of these and nothing else: ${form.choices.join('; ')}.`
    case 'json':
      return `Answer with JSON of this schema and nothing else: ${JSON.stringify(form.schema)}`
  }
}
