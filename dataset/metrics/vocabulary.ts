// Finding things in text by the words for them. It does not know what a right answer is.
import { type World, wordsOf } from '../../schemas/world.ts'

export type Mention = {
  /** The concept's name, whatever word was used. */
  name: string
  /** How many, by the number word before it; 1 without one. */
  count: number
}

export type Vocabulary = {
  /** Every mention, in order; a longer word wins over a shorter one inside it, and a part of a hyphenated word is none. */
  mentionsIn: (text: string) => Mention[]
  /** The concept that a word stands for, or null. */
  nameOf: (word: string) => string | null
}

const numbers: Readonly<Record<string, number>> = {
  two: 2,
  three: 3,
  four: 4,
  five: 5,
  six: 6,
  seven: 7,
  eight: 8,
  nine: 9,
  ten: 10,
}

/** The words of a world, and of `names` that it lacks, which then have themselves and a plural in s. */
export function openVocabulary(world: Pick<World, 'concepts'> | null, names: Iterable<string>): Vocabulary {
  const nameByWord = new Map<string, string>()
  for (const concept of world?.concepts ?? [])
    for (const word of wordsOf(concept)) nameByWord.set(word, concept.name)
  for (const name of names) {
    if (nameByWord.has(name.toLowerCase())) continue
    for (const word of [name, `${name}s`]) nameByWord.set(word.toLowerCase(), name)
  }
  const alternatives = [...nameByWord.keys()].toSorted((a, b) => b.length - a.length).map(escapePattern)
  const pattern = new RegExp(
    String.raw`(?:\b(${Object.keys(numbers).join('|')}|\d+)\s+(?:\w+\s+)??)?(?<![\p{L}\p{N}-])(${alternatives.join('|')})(?![\p{L}\p{N}-])`,
    'giu',
  )
  return {
    nameOf: (word) => nameByWord.get(word.toLowerCase()) ?? null,
    mentionsIn: (text) =>
      nameByWord.size === 0
        ? []
        : [...text.replaceAll(/\s+/g, ' ').matchAll(pattern)].map(([, number, word = '']) => ({
            name: nameByWord.get(word.toLowerCase()) ?? word,
            count: readNumber(number),
          })),
  }
}

function readNumber(text: string | undefined): number {
  if (text === undefined) return 1
  return numbers[text.toLowerCase()] ?? Number(text)
}

function escapePattern(word: string): string {
  return word.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
}
