// tags: the things in the image as a list of words.
// Example: "A dog and two red apples." -> {tags: ["dog", "apple"]}
import { TagsOutput } from '../../schemas/task-output.ts'
import { removeBoxes } from './boxes.ts'
import { entitiesIn } from './entities.ts'
import { emptyAnswer, type ParsedAnswer, type Task, unparsable } from './task.ts'

const questions = {
  // Models that know no lists answer in a sentence, from which the things are taken.
  chat: 'What is in the image?',
  vqa: 'What is in the image?',
  base: 'List the things in this picture, separated by commas.',
} as const

export const tagsTask: Task = {
  name: 'tags',
  version: 1,
  ability: 'caption',
  summary: 'the things in the image as a list of words',
  isDefault: false,
  maxNewTokens: 128,
  outputSchema: TagsOutput,
  plan: ({ template }) => [{ prompts: [{ question: questions[template] }] }],
  parse: (spec, answers) => parseTags(answers[0] ?? '', spec.prompts[0]?.question ?? ''),
}

function parseTags(answer: string, question: string): ParsedAnswer {
  const { text, repairs } = removeBoxes(answer)
  if (text === '') return emptyAnswer(question)
  // A list may be one thing a line, with marks or numbers before each.
  const listed = text.replaceAll(/^\s*(?:[-*•]|\d+[.)])\s*/gm, '').replaceAll(/\s*\n\s*/g, ', ')
  const tags = entitiesIn(listed).map(({ name }) => name)
  if (tags.length > 0) return { ok: true, output: { tags }, repairs }
  return unparsable(`the answer ${JSON.stringify(text.slice(0, 200))} names no thing`, repairs)
}
