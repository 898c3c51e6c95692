// Reads a SentencePiece `tokenizer.model` (a protobuf) into plain data. It trusts nothing in the file and encodes no text.
// Field numbers: sentencepiece_model.proto of google/sentencepiece.
import protobuf from 'protobufjs/minimal.js'
import { UserError } from '../../schemas/errors.ts'

export type PieceKind = 'normal' | 'unknown' | 'control' | 'user-defined' | 'byte'

export type Piece = { text: string; score: number; kind: PieceKind }

export type SentencePieceModel = {
  /** A piece's index is its token id. */
  pieces: Piece[]
  /** Token id of each byte 0..255, used for characters that have no piece. */
  byteTokenIds: number[]
  addDummyPrefix: boolean
}

const maxPieces = 1_000_000
const maxPieceBytes = 4096

const kindOfType: Record<number, PieceKind | undefined> = {
  1: 'normal',
  2: 'unknown',
  3: 'control',
  4: 'user-defined',
  6: 'byte',
}

type Specs = {
  modelType: number
  byteFallback: boolean
  whitespaceAsSuffix: boolean
  charsmapBytes: number
  addDummyPrefix: boolean
  removeExtraWhitespaces: boolean
  escapeWhitespaces: boolean
}

/**
 * Parses and checks a model. Throws UserError unless it is a BPE model with byte fallback and without normalisation,
 * which is what every checkpoint of the LLaMA and Vicuna line ships; `path` is for messages only.
 */
export function readSentencePieceModel({
  bytes,
  path,
}: {
  bytes: Uint8Array
  path: string
}): SentencePieceModel {
  const pieces: Piece[] = []
  // The proto's own defaults, for fields the file leaves out.
  const specs: Specs = {
    modelType: 1,
    byteFallback: false,
    whitespaceAsSuffix: false,
    charsmapBytes: 0,
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
  }
  try {
    eachField(protobuf.Reader.create(bytes), (field, reader) => {
      if (field === 1) {
        if (pieces.length === maxPieces) throw new UserError(`more than ${maxPieces} pieces`)
        pieces.push(readPiece(message(reader), pieces.length))
      } else if (field === 2) readTrainerSpec(message(reader), specs)
      else if (field === 3) readNormalizerSpec(message(reader), specs)
      else return false
      return true
    })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UserError(`${path} is not a readable SentencePiece model: ${reason}; fetch the file again`, {
      cause,
    })
  }
  checkSpecs(specs, path)
  return { pieces, byteTokenIds: collectByteTokens(pieces, path), addDummyPrefix: specs.addDummyPrefix }
}

/** Calls `read` for every field; fields it does not take (returns false) are skipped by their wire type. */
function eachField(
  reader: protobuf.Reader,
  read: (field: number, reader: protobuf.Reader, wire: number) => boolean,
): void {
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    const wire = tag & 7
    const field = tag >>> 3
    if (field === 0) throw new UserError('a field has number 0')
    const known = read(field, reader, wire)
    if (!known) reader.skipType(wire)
  }
}

/** A reader over the length-delimited bytes that come next. */
function message(reader: protobuf.Reader): protobuf.Reader {
  return protobuf.Reader.create(reader.bytes())
}

function readPiece(reader: protobuf.Reader, tokenId: number): Piece {
  let text = ''
  let score = 0
  let type = 1
  eachField(reader, (field, fields, wire) => {
    if (field === 1 && wire === 2) {
      const raw = fields.bytes()
      if (raw.length > maxPieceBytes)
        throw new UserError(`piece ${tokenId} has ${raw.length} bytes; at most ${maxPieceBytes}`)
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw)
    } else if (field === 2 && wire === 5) score = fields.float()
    else if (field === 3 && wire === 0) type = fields.int32()
    else return false
    return true
  })
  const kind = kindOfType[type]
  if (kind === undefined)
    throw new UserError(
      `piece ${tokenId} has type ${type}; expected normal, unknown, control, user-defined or byte`,
    )
  if (text === '') throw new UserError(`piece ${tokenId} has no text`)
  if (!Number.isFinite(score)) throw new UserError(`piece ${tokenId} has the score ${score}`)
  return { text, score, kind }
}

function readTrainerSpec(reader: protobuf.Reader, specs: Specs): void {
  eachField(reader, (field, fields, wire) => {
    if (wire !== 0) return false
    if (field === 3) specs.modelType = fields.int32()
    else if (field === 24) specs.whitespaceAsSuffix = fields.bool()
    else if (field === 35) specs.byteFallback = fields.bool()
    else return false
    return true
  })
}

function readNormalizerSpec(reader: protobuf.Reader, specs: Specs): void {
  eachField(reader, (field, fields, wire) => {
    if (field === 2 && wire === 2) specs.charsmapBytes = fields.bytes().length
    else if (field === 3 && wire === 0) specs.addDummyPrefix = fields.bool()
    else if (field === 4 && wire === 0) specs.removeExtraWhitespaces = fields.bool()
    else if (field === 5 && wire === 0) specs.escapeWhitespaces = fields.bool()
    else return false
    return true
  })
}

function checkSpecs(specs: Specs, path: string): void {
  const refuse = (seen: string, expected: string): never => {
    throw new UserError(`${path} ${seen}; only ${expected} is supported, as LLaMA and Vicuna tokenizers are`)
  }
  if (specs.modelType !== 2) refuse(`has model type ${specs.modelType}`, 'BPE (type 2)')
  if (!specs.byteFallback) refuse('has no byte fallback', 'byte fallback')
  if (specs.whitespaceAsSuffix) refuse('treats whitespace as a suffix', 'whitespace as a prefix')
  if (specs.charsmapBytes > 0) refuse('normalises characters', 'a model without normalisation')
  if (specs.removeExtraWhitespaces) refuse('removes extra whitespace', 'a model that keeps whitespace')
  if (!specs.escapeWhitespaces) refuse('does not escape whitespace', 'whitespace escaped as U+2581')
}

function collectByteTokens(pieces: readonly Piece[], path: string): number[] {
  const byteTokenIds = new Array<number>(256).fill(-1)
  for (const [tokenId, piece] of pieces.entries()) {
    if (piece.kind !== 'byte') continue
    const match = /^<0x([0-9A-F]{2})>$/.exec(piece.text)
    if (match?.[1] === undefined) {
      throw new UserError(
        `${path}: byte piece ${tokenId} is ${JSON.stringify(piece.text)}; expected <0x00> to <0xFF>`,
      )
    }
    byteTokenIds[Number.parseInt(match[1], 16)] = tokenId
  }
  const missing = byteTokenIds.indexOf(-1)
  if (missing >= 0)
    throw new UserError(`${path} has no piece for byte ${missing}; expected all 256; fetch the file again`)
  return byteTokenIds
}
