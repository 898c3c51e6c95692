// The rows that LLaVA's trainer reads and its kin took over: an id, an image and what a human and gpt say in turns. It does
// not know which records become rows, nor how their boxes are written.
import { z } from 'zod'
import { defuse, pairTurns, restore, type Turn } from './conversation.ts'
import type { LoadingRule } from './format.ts'
import { field, list, missingImage, nameOf, text } from './rules.ts'

export const LlavaRow = z.object({
  id: z.string(),
  image: z.string(),
  conversations: z.array(z.object({ from: z.string(), value: z.string() })),
})

/**
 * Where the trainer cuts a conversation apart again to see what was asked: one inside a text makes its pieces count
 * otherwise than its tokens, and nothing of the row is learned.
 */
const separators: readonly string[] = ['</s>', ' ASSISTANT: ']

/** A turn as its two sides; `mark` puts the image's marker beside the question. */
export function saidOfTurn({ question, answer }: Turn, mark = (asked: string) => asked) {
  return [
    { from: 'human', value: mark(defuse(question, separators)) },
    { from: 'gpt', value: defuse(answer, separators) },
  ]
}

/** The turns of a row; `marker` is the image's with the line break that parts it from the question. */
export function turnsOfSaid(conversations: readonly { value: string }[], marker: string): Turn[] {
  return pairTurns(conversations.map(({ value }) => restore(value.replace(marker, ''), separators)))
}

/** What is said in a row that may hold anything. */
export const saidIn = (value: unknown) =>
  list(field(value, 'conversations')).map((turn) => text(field(turn, 'value')))

export const imageIsOnePath = (source: string): LoadingRule => ({
  name: 'image-is-one-path',
  says: 'image is one path below --image_folder, and opens',
  source,
  problem: (row, { files }) => missingImage(field(row.value, 'image'), files),
})

export const noSeparatorInText = (source: string): LoadingRule => ({
  name: 'no-separator-in-a-text',
  says: 'no text holds </s> or " ASSISTANT: ": the trainer cuts there, counts wrong and learns nothing of the row',
  source,
  problem(row) {
    const said = saidIn(row.value)
    const found = separators.find((separator) => said.some((one) => one.includes(separator)))
    return found === undefined ? null : `${nameOf(row, field(row.value, 'id'))} has ${JSON.stringify(found)}`
  },
})
