// Opens a Hugging Face `tokenizer.json` with byte-level BPE (LLaMA-3). It checks the file and leaves the algorithm to
// @huggingface/tokenizers, which is exact on the goldens.
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'
import type { Tokenizer } from './tokenizer-contract.ts'

const maxVocabSize = 1_000_000
const maxPatternLength = 2_000
const TokenId = z
  .int()
  .min(0)
  .max(maxVocabSize - 1)
const AddedToken = z.looseObject({ id: TokenId, content: z.string().min(1).max(1000), special: z.boolean() })

const SplitStep = z.looseObject({
  type: z.literal('Split'),
  pattern: z.union([
    z.strictObject({ Regex: z.string().max(maxPatternLength) }),
    z.strictObject({ String: z.string().max(maxPatternLength) }),
  ]),
})
const ByteLevelStep = z.looseObject({ type: z.literal('ByteLevel') })
const PreTokenizer = z.union([
  ByteLevelStep,
  z.looseObject({
    type: z.literal('Sequence'),
    pretokenizers: z.array(z.union([SplitStep, ByteLevelStep])).max(8),
  }),
])

/** What we rely on; fields not named here are passed on as they are. */
const TokenizerFile = z.looseObject({
  added_tokens: z.array(AddedToken).max(maxVocabSize),
  normalizer: z.null().optional(),
  pre_tokenizer: PreTokenizer,
  decoder: z.looseObject({ type: z.literal('ByteLevel') }),
  model: z.looseObject({
    type: z.literal('BPE'),
    vocab: z.record(z.string(), TokenId),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).max(2 * maxVocabSize),
  }),
})

/**
 * Encodes without bos and decodes without special tokens. As in the reference, the text of an added token
 * (`<|eot_id|>`) inside a prompt becomes that token. Throws UserError for any file that is not byte-level BPE.
 */
export function createTokenizerFromJson({ bytes, path }: { bytes: Uint8Array; path: string }): Tokenizer {
  const file = parseFile(bytes, path)
  const texts = tokenTexts(file)
  const tokenizer = build(file, path)
  return {
    vocabSize: texts.length,
    encode(text) {
      if (text === '') return []
      return tokenizer.encode(text.toWellFormed(), { add_special_tokens: false }).ids
    },
    decode(tokenIds) {
      const known = tokenIds.filter((tokenId) => texts[tokenId] !== undefined)
      if (known.length === 0) return ''
      // The goldens' reference keeps the spaces before punctuation although tokenizer_config.json asks to clean them up.
      return tokenizer.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: false })
    },
    tokenText: (tokenId) => texts[tokenId],
  }
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
    `${path} is not a byte-level BPE tokenizer: ${where}: ${issue?.message ?? 'unknown problem'}; expected the tokenizer.json of a LLaMA-3 model`,
    { cause: parsed.error },
  )
}

function build(file: z.infer<typeof TokenizerFile>, path: string): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer(file, {})
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
