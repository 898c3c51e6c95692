// What a tokenizer is and how one is opened from a folder. It does not know how either file format is read.
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../schemas/errors.ts'
import { readSentencePieceModel } from './sentencepiece-model.ts'
import { createSentencePieceTokenizer } from './sentencepiece.ts'
import { createTokenizerFromJson } from './tokenizer-json.ts'
import { maxTextLength } from './tokenizer-contract.ts'
import type { Tokenizer } from './tokenizer-contract.ts'

export type TokenizerKind = 'sentencepiece' | 'tokenizer-json'

const defaultFiles: Record<TokenizerKind, string> = {
  'sentencepiece': 'tokenizer.model',
  'tokenizer-json': 'tokenizer.json',
}

/** LLaMA-3's tokenizer.json is 9 MB, multilingual ones reach 35 MB. */
const maxFileBytes = 128 * 1024 * 1024

/**
 * Opens the tokenizer of a checkpoint or compiled model. Throws UserError when the file is missing, too large or not
 * what its kind promises.
 */
export async function openTokenizer({
  folder,
  kind,
  file = defaultFiles[kind],
}: {
  folder: string
  kind: TokenizerKind
  file?: string
}): Promise<Tokenizer> {
  const path = join(folder, file)
  const bytes = await readCapped(path)
  return limitText(createTokenizer({ kind, bytes, path }))
}

function createTokenizer({
  kind,
  bytes,
  path,
}: {
  kind: TokenizerKind
  bytes: Uint8Array
  path: string
}): Tokenizer {
  switch (kind) {
    case 'sentencepiece':
      return createSentencePieceTokenizer(readSentencePieceModel({ bytes, path }))
    case 'tokenizer-json':
      return createTokenizerFromJson({ bytes, path })
    default:
      return kind satisfies never
  }
}

function limitText(tokenizer: Tokenizer): Tokenizer {
  return {
    ...tokenizer,
    encode(text) {
      if (text.length > maxTextLength) {
        throw new UserError(
          `a prompt has ${text.length} characters; expected at most ${maxTextLength}; shorten the question`,
        )
      }
      return tokenizer.encode(text)
    },
  }
}

async function readCapped(path: string): Promise<Uint8Array> {
  const handle = await open(path).catch((cause: unknown) => {
    throw new UserError(
      `cannot open the tokenizer file ${path}; expected the file that came with the checkpoint`,
      { cause },
    )
  })
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new UserError(`${path} is not a file; expected a tokenizer file`)
    if (stat.size === 0 || stat.size > maxFileBytes) {
      throw new UserError(
        `${path} has ${stat.size} bytes; expected a tokenizer file of 1 to ${maxFileBytes} bytes`,
      )
    }
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}
