// SentencePiece BPE over a model already read: text to ids and back. It knows no file format and no prompt.
import { isUtf8 } from 'node:buffer'
import { mergeSymbols } from './bpe-merge.ts'
import type { SymbolList } from './bpe-merge.ts'
import type { Piece, SentencePieceModel } from './sentencepiece-model.ts'
import type { Tokenizer } from './tokenizer-contract.ts'

/** The mark that stands for a space inside pieces. */
const spaceMark = '\u2581'

/**
 * Encodes exactly as sentencepiece's EncodeAsIds and decodes as its DecodeIds, but that ids it does not know decode to
 * nothing. The names of control pieces (`<s>`) in a text are text: no prompt can forge a token.
 */
export function createSentencePieceTokenizer(model: SentencePieceModel): Tokenizer {
  const { pieces, addDummyPrefix } = model
  const vocabulary = buildVocabulary(pieces)
  return {
    vocabSize: pieces.length,
    encode(text) {
      if (text === '') return []
      // A lone surrogate has no UTF-8 form; sentencepiece would see U+FFFD too.
      const escaped = (addDummyPrefix ? ' ' : '') + text.toWellFormed()
      const normalised = escaped.replaceAll(' ', spaceMark)
      const symbols = splitSymbols(normalised, vocabulary.userDefined)
      mergeSymbols(symbols, (left, right) => {
        const start = symbols.starts[left] ?? 0
        const end = symbols.ends[right] ?? 0
        if (end - start > vocabulary.longestPiece) return undefined
        return vocabulary.scores.get(normalised.slice(start, end))
      })
      return collectTokenIds({ normalised, symbols, model, tokenIds: vocabulary.tokenIds })
    },
    decode: (tokenIds) => decodePieces(tokenIds, model),
    tokenText: (tokenId) => pieces[tokenId]?.text,
  }
}

type Vocabulary = {
  tokenIds: Map<string, number>
  scores: Map<string, number>
  /** In UTF-16 units. */
  longestPiece: number
  /** Matches user-defined pieces, longest first; null where the model has none. */
  userDefined: RegExp | null
}

/** Only normal and user-defined pieces can come out of text; control, unknown and byte pieces cannot be spelled. */
function buildVocabulary(pieces: readonly Piece[]): Vocabulary {
  const tokenIds = new Map<string, number>()
  const scores = new Map<string, number>()
  const userDefined: string[] = []
  let longestPiece = 0
  for (const [tokenId, piece] of pieces.entries()) {
    if (piece.kind !== 'normal' && piece.kind !== 'user-defined') continue
    if (tokenIds.has(piece.text)) continue
    tokenIds.set(piece.text, tokenId)
    scores.set(piece.text, piece.score)
    longestPiece = Math.max(longestPiece, piece.text.length)
    if (piece.kind === 'user-defined') userDefined.push(piece.text)
  }
  // The longest match wins, and an alternation takes the first that matches.
  const literals = userDefined.toSorted((a, b) => b.length - a.length).map(escapeRegExp)
  return {
    tokenIds,
    scores,
    longestPiece,
    userDefined: literals.length > 0 ? new RegExp(literals.join('|'), 'gu') : null,
  }
}

function escapeRegExp(literal: string): string {
  return literal.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
}

/** One symbol per character; a user-defined piece is one symbol that never merges. */
function splitSymbols(text: string, userDefined: RegExp | null): SymbolList {
  const symbols: SymbolList = { starts: [], ends: [], frozen: new Set() }
  let at = 0
  const pushCharacters = (end: number) => {
    while (at < end) {
      const next = at + ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1)
      symbols.starts.push(at)
      symbols.ends.push(next)
      at = next
    }
  }
  for (const match of userDefined === null ? [] : text.matchAll(userDefined)) {
    pushCharacters(match.index)
    symbols.frozen.add(symbols.starts.length)
    symbols.starts.push(at)
    at += match[0].length
    symbols.ends.push(at)
  }
  pushCharacters(text.length)
  return symbols
}

function collectTokenIds({
  normalised,
  symbols,
  model,
  tokenIds,
}: {
  normalised: string
  symbols: SymbolList
  model: SentencePieceModel
  tokenIds: Map<string, number>
}): number[] {
  const collected: number[] = []
  for (const [index, start] of symbols.starts.entries()) {
    const end = symbols.ends[index] ?? start
    if (end === start) continue
    const text = normalised.slice(start, end)
    const tokenId = tokenIds.get(text)
    if (tokenId !== undefined) collected.push(tokenId)
    else for (const byte of Buffer.from(text, 'utf8')) collected.push(model.byteTokenIds[byte] ?? 0)
  }
  return collected
}

/** Joins pieces, merges runs of byte pieces as UTF-8, and removes the space that the dummy prefix put in front. */
function decodePieces(tokenIds: readonly number[], { pieces, addDummyPrefix }: SentencePieceModel): string {
  const parts: string[] = []
  let bytes: number[] = []
  const flushBytes = () => {
    if (bytes.length > 0) parts.push(decodeUtf8(bytes))
    bytes = []
  }
  for (const tokenId of tokenIds) {
    const piece = pieces[tokenId]
    if (piece === undefined || piece.kind === 'control' || piece.kind === 'unknown') continue
    if (piece.kind === 'byte') {
      bytes.push(Number.parseInt(piece.text.slice(3, 5), 16))
      continue
    }
    // Only a mark was put there by encoding; a space spelled as the byte 0x20 is the text's own.
    const isPrefixed =
      addDummyPrefix && parts.length === 0 && bytes.length === 0 && piece.text.startsWith(spaceMark)
    flushBytes()
    parts.push((isPrefixed ? piece.text.slice(1) : piece.text).replaceAll(spaceMark, ' '))
  }
  flushBytes()
  return parts.join('')
}

/** As sentencepiece does: each byte that starts no valid character becomes one U+FFFD. */
function decodeUtf8(bytes: readonly number[]): string {
  const buffer = Buffer.from(bytes)
  if (isUtf8(buffer)) return buffer.toString('utf8')
  let text = ''
  let at = 0
  while (at < buffer.length) {
    const length = [1, 2, 3, 4].find(
      (count) => at + count <= buffer.length && isUtf8(buffer.subarray(at, at + count)),
    )
    text += length === undefined ? '\ufffd' : buffer.toString('utf8', at, at + length)
    at += length ?? 1
  }
  return text
}
