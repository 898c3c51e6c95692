// Opens a Hugging Face `tokenizer.json` with byte-level BPE (LLaMA-3). It checks the file and leaves the algorithm to
// @huggingface/tokenizers, which is exact on the goldens.
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'
import type { Tokenizer } from './tokenizer-contract.ts'

const maxVocabSize = 1_000_000
/** LLaMA-3 has 256. */
const maxAddedTokens = 10_000
const TokenId = z
  .int()
  .min(0)
  .max(maxVocabSize - 1)
const AddedToken = z.looseObject({
  id: TokenId,
  content: z.string().min(1).max(1000),
  special: z.boolean(),
  // The library would find it inside of words, too, and say nothing.
  single_word: z.literal(false).optional(),
})

/**
 * The patterns a file may split text with. A file is not trusted with one of its own: two dozen characters of regular
 * expression can hang a worker on a short prompt, and no check short of knowing the pattern rules that out. A new model
 * family adds its pattern here. First: LLaMA-3.
 */
const knownPatterns: readonly string[] = [
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
]

const SplitStep = z.looseObject({
  type: z.literal('Split'),
  pattern: z.strictObject({
    Regex: z.string().refine((pattern) => knownPatterns.includes(pattern), {
      error: ({ input }) => `the split pattern ${JSON.stringify(input).slice(0, 200)} is not a known one`,
    }),
  }),
})
const ByteLevelStep = z.looseObject({ type: z.literal('ByteLevel') })
const PreTokenizer = z.discriminatedUnion('type', [
  ByteLevelStep,
  z.looseObject({
    type: z.literal('Sequence'),
    pretokenizers: z.array(z.discriminatedUnion('type', [SplitStep, ByteLevelStep])).max(8),
  }),
])

/** What we rely on; fields not named here are passed on as they are. */
const TokenizerFile = z.looseObject({
  added_tokens: z.array(AddedToken).max(maxAddedTokens),
  normalizer: z.null().optional(),
  pre_tokenizer: PreTokenizer,
  decoder: z.looseObject({ type: z.literal('ByteLevel') }),
  model: z.looseObject({
    type: z.literal('BPE'),
    vocab: z.custom<Record<string, number>>(
      isVocab,
      'expected token ids by spelling, the 256 bytes among them',
    ),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).max(2 * maxVocabSize),
  }),
})

/**
 * Token ids by spelling, one for every byte at least, or text would vanish in silence. By hand, because `z.record` takes
 * most of a second for LLaMA-3's 128,000 entries.
 */
function isVocab(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return (
    Object.values(value).every(
      (tokenId) => Number.isInteger(tokenId) && tokenId >= 0 && tokenId < maxVocabSize,
    ) && byteCharacters().every((character) => Object.hasOwn(value, character))
  )
}

/** Byte-level BPE spells a byte by its Latin-1 character if that prints, and the rest by the characters from U+0100 on. */
function byteCharacters(): string[] {
  let unprintable = 0
  return Array.from({ length: 256 }, (_, byte) =>
    (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
      ? String.fromCharCode(byte)
      : String.fromCharCode(0x100 + unprintable++),
  )
}

/**
 * Encodes without bos and decodes without special tokens. As in the reference, the text of an added token
 * (`<|eot_id|>`) inside a prompt becomes that token. Throws UserError for any file that is not byte-level BPE.
 *
 * Decoding keeps every space, also where tokenizer_config.json says `clean_up_tokenization_spaces: true`, as that of
 * CogVLM2 does. That clean-up deletes spaces before `.,?!` and contractions wherever they stand, so a label that quotes
 * "12 . 5" or " 's" from a picture would no longer say what the model wrote, and decoding would not undo encoding.
 */
export function createTokenizerFromJson({ bytes, path }: { bytes: Uint8Array; path: string }): Tokenizer {
  const file = parseFile(bytes, path)
  const texts = tokenTexts(file)
  const tokenizer = build(file, path)
  const special = new Set(file.added_tokens.map(({ id }) => id))
  const byteOf = new Map(byteCharacters().map((character, byte) => [character, byte]))
  return {
    vocabSize: texts.length,
    encode(text) {
      if (text === '') return []
      return tokenizer.encode(text.toWellFormed(), { add_special_tokens: false }).ids
    },
    decode(tokenIds) {
      const known = tokenIds.filter((tokenId) => texts[tokenId] !== undefined)
      if (known.length === 0) return ''
      return tokenizer.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: false })
    },
    tokenText: (tokenId) => texts[tokenId],
    tokenBytes: (tokenId) => (special.has(tokenId) ? undefined : bytesOf(texts[tokenId], byteOf)),
  }
}

function bytesOf(text: string | undefined, byteOf: ReadonlyMap<string, number>): Uint8Array | undefined {
  return text === undefined ? undefined : Uint8Array.from(text, (character) => byteOf.get(character) ?? 0)
}

function parseFile(bytes: Uint8Array, path: string): z.infer<typeof TokenizerFile> {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new UserError(
      `${path} is not JSON; expected the tokenizer.json of the checkpoint; fetch the file again`,
      { cause },
    )
  }
  const parsed = TokenizerFile.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = issue === undefined || issue.path.length === 0 ? 'the file' : issue.path.join('.')
  throw new UserError(
    `${path} is not a byte-level BPE tokenizer: ${where}: ${issue?.message ?? 'unknown problem'}; expected the tokenizer.json of a LLaMA-3 model (CogVLM of the first generation is read from tokenizer.model)`,
    { cause: parsed.error },
  )
}

function build(file: z.infer<typeof TokenizerFile>, path: string): HuggingFaceTokenizer {
  try {
    // Only bos and eos would be added by the post-processor, which prompts get elsewhere or not at all.
    return new HuggingFaceTokenizer({ ...file, post_processor: null }, {})
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UserError(`${path} cannot be used as a tokenizer: ${reason}; fetch the file again`, { cause })
  }
}

/** Token id to its spelling; ids without a token stay undefined. */
function tokenTexts(file: z.infer<typeof TokenizerFile>): (string | undefined)[] {
  const texts: (string | undefined)[] = []
  for (const [text, tokenId] of Object.entries(file.model.vocab)) texts[tokenId] = text
  for (const { id, content } of file.added_tokens) texts[id] = content
  return texts
}
