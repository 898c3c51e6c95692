// Captions as words, in the manner of the Penn Treebank tokeniser that caption scores are defined with: a subset for
// captions, not the whole of it. Scores over it are named so.

/** What the caption evaluation leaves out after tokenising. */
const leftOut = new Set([
  "''",
  "'",
  '``',
  '`',
  '-lrb-',
  '-rrb-',
  '-lcb-',
  '-rcb-',
  '.',
  '?',
  '!',
  ',',
  ':',
  '-',
  '--',
  '…',
  ';',
])

/** Lower-case words; contractions are split ("do n't", "dog 's"), words with hyphens and numbers are whole. */
export function ptbTokens(text: string): string[] {
  const split = text
    .toLowerCase()
    .replaceAll(/[“”]|"/g, ' " ')
    .replaceAll(/[‘’]/g, "'")
    .replaceAll(/\.{2,}|…/g, ' … ')
    .replaceAll(/(^|\s)'(?=\p{L})/gu, "$1' ")
    .replaceAll(/([;@#$%&?!()[\]{}<>:]|--)/g, ' $1 ')
    // A comma between digits is part of the number.
    .replaceAll(/,(?!\d)|(?<!\d),/g, ' , ')
    // A full stop ends the sentence, also before a new one; inside "u.s." and "3.5" it does not.
    .replaceAll(/(?<![\s.]\p{L}|^\p{L})\.(?=\s|$|["')])/gu, ' . ')
    .replaceAll(/(\p{L})n't\b/gu, "$1 n't")
    .replaceAll(/(\p{L})'(s|m|d|ll|re|ve)\b/gu, "$1 '$2")
    .replaceAll(/(\p{L}s)'(?=\s|$)/gu, "$1 '")
    .replaceAll(/\bcannot\b/g, 'can not')
  const named: Readonly<Record<string, string>> = {
    '(': '-lrb-',
    ')': '-rrb-',
    '{': '-lcb-',
    '}': '-rcb-',
    '"': "''",
  }
  return split
    .split(/\s+/)
    .filter((token) => token !== '')
    .map((token) => named[token] ?? token)
    .filter((token) => !leftOut.has(token))
}
