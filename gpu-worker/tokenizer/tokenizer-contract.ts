// What a tokenizer is, whatever file it was read from.

/**
 * A task's question has at most 8,000; this bounds the time of one call, 2.5 s measured at worst (100,000
 * CJK characters without a space on a busy machine).
 */
export const maxTextLength = 100_000

/** Text to token ids and back. Neither way adds bos or eos. */
export type Tokenizer = {
  /** Number of ids, added and special tokens included. */
  readonly vocabSize: number
  /** Throws UserError for a text of more than `maxTextLength` UTF-16 units. */
  encode(text: string): number[]
  /** Special tokens and ids outside the vocabulary give nothing. */
  decode(tokenIds: readonly number[]): string
  /** The vocabulary's own spelling of one token, for people who debug; undefined outside the vocabulary. */
  tokenText(tokenId: number): string | undefined
  /** What a token adds to the text inside an answer, as UTF-8; undefined for special tokens and outside the vocabulary. */
  tokenBytes(tokenId: number): Uint8Array | undefined
}
