// What a tokenizer is, whatever file it was read from.

/** Text to token ids and back. Neither way adds bos or eos. */
export type Tokenizer = {
  /** Number of ids, added and special tokens included. */
  readonly vocabSize: number
  encode(text: string): number[]
  /** Special tokens and ids outside the vocabulary give nothing. */
  decode(tokenIds: readonly number[]): string
  /** The vocabulary's own spelling of one token, for people who debug; undefined outside the vocabulary. */
  tokenText(tokenId: number): string | undefined
}
