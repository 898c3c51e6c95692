// SentencePiece BPE over a model already read: text to ids and back. It knows no file format and no prompt.
import { isUtf8 } from 'node:buffer'
import { mergeSymbols } from './bpe-merge.ts'
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
  const encodeSegment = createSegmentEncoder(vocabulary, model.byteTokenIds)
  return {
    vocabSize: pieces.length,
    encode(text) {
      if (text === '') return []
      // A lone surrogate has no UTF-8 form; sentencepiece would see U+FFFD too.
      const escaped = (addDummyPrefix ? ' ' : '') + text.toWellFormed()
      const tokenIds: number[] = []
      for (const segment of splitSegments(escaped.replaceAll(' ', spaceMark), vocabulary)) {
        for (const tokenId of encodeSegment(segment)) tokenIds.push(tokenId)
      }
      return tokenIds
    },
    decode: (tokenIds) => decodePieces(tokenIds, model),
    tokenText: (tokenId) => pieces[tokenId]?.text,
    tokenBytes: (tokenId) => pieceBytes(pieces[tokenId]),
  }
}

type Vocabulary = {
  tokenIds: Map<string, number>
  scores: Map<string, number>
  /** In UTF-16 units. */
  longestPiece: number
  /** Every two characters that stand side by side inside some piece, as `pairKey`. */
  innerPairs: Set<number>
  /** User-defined pieces, which stand for themselves wherever they occur, and what matches them, longest first. */
  userDefinedIds: Map<string, number>
  userDefined: RegExp | null
}

/** Only normal and user-defined pieces can come out of text; control, unknown and byte pieces cannot be spelled. */
function buildVocabulary(pieces: readonly Piece[]): Vocabulary {
  const tokenIds = new Map<string, number>()
  const scores = new Map<string, number>()
  const innerPairs = new Set<number>()
  const userDefinedIds = new Map<string, number>()
  let longestPiece = 0
  for (const [tokenId, piece] of pieces.entries()) {
    if (piece.kind !== 'normal' && piece.kind !== 'user-defined') continue
    if (tokenIds.has(piece.text)) continue
    tokenIds.set(piece.text, tokenId)
    scores.set(piece.text, piece.score)
    longestPiece = Math.max(longestPiece, piece.text.length)
    addPairs(piece.text, innerPairs)
    if (piece.kind === 'user-defined') userDefinedIds.set(piece.text, tokenId)
  }
  // The longest match wins, and an alternation takes the first that matches.
  const literals = [...userDefinedIds.keys()].toSorted((a, b) => b.length - a.length).map(escapeRegExp)
  return {
    tokenIds,
    scores,
    longestPiece,
    innerPairs,
    userDefinedIds,
    userDefined: literals.length > 0 ? new RegExp(literals.join('|'), 'gu') : null,
  }
}

function addPairs(text: string, pairs: Set<number>): void {
  let before = -1
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0
    if (before >= 0) pairs.add(pairKey(before, codePoint))
    before = codePoint
  }
}

/** Code points have 21 bits, so that two of them fit a safe integer. */
function pairKey(before: number, codePoint: number): number {
  return before * 0x200000 + codePoint
}

function escapeRegExp(literal: string): string {
  return literal.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
}

/**
 * Cuts a text where no piece can reach across, which changes no id: every user-defined piece stands alone, and two
 * characters part that no piece holds side by side (in LLaMA's vocabulary: before most spaces). Prompts become words.
 */
function splitSegments(text: string, { userDefined, innerPairs }: Vocabulary): string[] {
  const segments: string[] = []
  let at = 0
  const cutUntil = (end: number) => {
    let before = -1
    let start = at
    while (at < end) {
      const codePoint = text.codePointAt(at) ?? 0
      if (at > start && !innerPairs.has(pairKey(before, codePoint))) {
        segments.push(text.slice(start, at))
        start = at
      }
      before = codePoint
      at += codePoint > 0xffff ? 2 : 1
    }
    if (start < end) segments.push(text.slice(start, end))
  }
  for (const match of userDefined === null ? [] : text.matchAll(userDefined)) {
    cutUntil(match.index)
    segments.push(match[0])
    at += match[0].length
  }
  cutUntil(text.length)
  return segments
}

const maxRememberedSegments = 10_000
const longestRememberedSegment = 64

/** Segment to token ids. It remembers short segments, because words come again. */
function createSegmentEncoder(
  vocabulary: Vocabulary,
  byteTokenIds: readonly number[],
): (segment: string) => readonly number[] {
  const remembered = new Map<string, readonly number[]>()
  return (segment) => {
    const literal = vocabulary.userDefinedIds.get(segment)
    if (literal !== undefined) return [literal]
    const known = remembered.get(segment)
    if (known !== undefined) return known
    const tokenIds = mergeSegment(segment, vocabulary, byteTokenIds)
    if (segment.length <= longestRememberedSegment) {
      if (remembered.size === maxRememberedSegments) remembered.clear()
      remembered.set(segment, tokenIds)
    }
    return tokenIds
  }
}

function mergeSegment(
  segment: string,
  { tokenIds, scores, longestPiece }: Vocabulary,
  byteTokenIds: readonly number[],
): number[] {
  const merged: number[] = []
  const spans = mergeSymbols(splitCharacters(segment), (start, end) =>
    end - start > longestPiece ? undefined : scores.get(segment.slice(start, end)),
  )
  for (const { start, end } of spans) {
    const text = segment.slice(start, end)
    const tokenId = tokenIds.get(text)
    if (tokenId !== undefined) merged.push(tokenId)
    else for (const byte of Buffer.from(text, 'utf8')) merged.push(byteTokenIds[byte] ?? 0)
  }
  return merged
}

/** Where each character ends, in UTF-16 units. */
function splitCharacters(text: string): Int32Array {
  const ends = new Int32Array(text.length)
  let count = 0
  for (let at = 0; at < text.length; count++) {
    at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
    ends[count] = at
  }
  return ends.subarray(0, count)
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
    if (piece === undefined) continue
    if (piece.kind === 'control' || piece.kind === 'unknown') {
      // They say nothing, but bytes on either side of one are no one character.
      flushBytes()
      continue
    }
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

function pieceBytes(piece: Piece | undefined): Uint8Array | undefined {
  if (piece === undefined || piece.kind === 'control' || piece.kind === 'unknown') return undefined
  if (piece.kind === 'byte') return Uint8Array.of(Number.parseInt(piece.text.slice(3, 5), 16))
  return Buffer.from(piece.text.replaceAll(spaceMark, ' '), 'utf8')
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
