// Captions as words, as the official caption evaluation splits them: Stanford's Penn Treebank tokeniser 3.4.1 in lower
// case, less a list of punctuation. Written anew from what that does, as far as captions go: other scripts' punctuation,
// markup across lines and swearing are left to it. So scores are named CIDEr-D(ts-ptb).
import { americanSpelling } from './american-spelling.ts'

/**
 * What the evaluation leaves out. Its list has brackets in upper case (-LRB-), and is held against words in lower case,
 * so that brackets stay; so do "!!" and "?!", which are one token.
 */
const leftOut = new Set(["''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'])

/** Lower-case words of a text, with its brackets and signs as words of their own. */
export function ptbTokens(text: string): string[] {
  const tokens: string[] = []
  for (let at = 0; at < text.length;) {
    const found = longestAt(text, at)
    if (found.token !== null) tokens.push(found.token)
    at += found.length
  }
  // One token may hold a space ("1 1/2"): the evaluation joins tokens by spaces and CIDEr splits at all of them.
  return tokens
    .map((token) => token.toLowerCase())
    .filter((token) => !leftOut.has(token))
    .flatMap((token) => token.split(' '))
}

type Rule = {
  /** What `token` matches is taken; the rest must follow, and counts when rules are compared. */
  pattern: RegExp
  write?: (token: string) => string
}

const letter = String.raw`[\p{L}\p{M}]`
const word = String.raw`${letter}(?:${letter}|\d)*(?:[.!?]${letter}(?:${letter}|\d)*)*`
const quote = "['’´]"
const anyQuote = "['’´`‘‛]"
const number = String.raw`(?:\d*(?:[.,]\d+)+|\d+(?:[.:,]\d+)*)`
const piece = String.raw`(?:[dol]${anyQuote}[\p{L}\d])?(?:[\p{L}\d]+|${number})`
const hyphen = '[-‐‑]'
const ending = String.raw`(?:\P{L}|$)`

/** Abbreviations that keep their point: titles, companies, months, days, states and the like, as captions have them. */
const abbreviations =
  'mrs?|ms|drs?|profs?|rev|gen|col|sgt|capt|lt|gov|sen|rep|pres|hon|st|ste|mt|ft|ave|blvd|rd|dept|jr|sr|bros|inc|co|' +
  'corp|ltd|assn|univ|bldg|etc|al|vs|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|calif|' +
  'fla|tex|mass|mich|penn|ph\\.d|ed\\.d'

function rule(source: string, write?: Rule['write'], flags = 'iuy'): Rule {
  return { pattern: new RegExp(source, flags), ...(write === undefined ? {} : { write }) }
}

const escaped = (token: string) => token.replaceAll(/[/*]/g, String.raw`\$&`)

/** The longest match is taken, of equals the first. */
const rules: readonly Rule[] = [
  rule(String.raw`\s+`, () => ''),
  // Two words in one: cannot, gonna, gotta, wanna, gimme, lemme, 'tis, 'twas.
  rule('(?<token>can)not'),
  rule(`(?<token>gon|wan)na${ending}`),
  rule(`(?<token>got)ta${ending}`),
  rule(`(?<token>gim|lem)me${ending}`),
  rule(`(?<token>${quote}t)is${ending}`),
  rule(`(?<token>${quote}t)was${ending}`),
  // Contractions: do n't, it 's, I 'd 've.
  rule(String.raw`(?<token>${word})${anyQuote}(?:m|s|d|re|ve|ll|em)`, americanSpelling),
  rule(String.raw`(?<token>[\p{L}]*[a-mo-z])n${anyQuote}ts?`),
  rule(`(?<token>n${anyQuote}ts?)${ending}`, straight),
  rule(`(?<token>${anyQuote}(?:m|s|d|re|ve|ll|em))${ending}`, straight),
  rule(`(?<token>${quote}(?:[2-9]0s|em|till?|cause)|${quote}n${quote}?)`, straight),
  rule(`(?<token>y${quote})${letter}`, straight),
  // ma'am, O'Neil, and a few more that stay whole.
  rule(
    `${letter}+[aeiouy]${anyQuote}[aeiou]${letter}*|(?:s'mores|c'mon|nor'easter|li'l|ev'ry|e'er|nat'l)`,
    straight,
  ),
  rule(`[A-HJ-XZn]${anyQuote}${letter}{2,}`, straight, 'uy'),
  rule(word, americanSpelling),
  rule(String.raw`(?:https?|ftp):\/\/[^\s<>|()]*[^\s<>|.!?,;:&()'"]`, escaped),
  rule(
    String.raw`(?:www\.(?:[^\s<>|.!?,()]+\.)+[a-z]{2,4}|(?:[^\s<>|.!?,:/$()]+\.)+(?:com|net|org|edu))(?:\/[^\s<>|()]+[^\s<>|.!?,;:&()])?`,
    escaped,
  ),
  rule(String.raw`[a-z\d][^\s<>|()"]*@(?:[^\s<>|().,"]+\.)+[^\s<>|().,"]+`),
  rule(String.raw`[@#]\p{L}[\p{L}\d_]+`),
  // Tags of markup on one line.
  rule(String.raw`<\/?[a-z!][^<>\n]*>`),
  rule(String.raw`\d{1,2}[-/]\d{1,2}[-/]\d{2,4}`, escaped),
  rule(String.raw`[-+]?${number}`),
  rule(String.raw`(?:\d{1,4}[- ])?\d{1,4}\/\d{1,4}`, escaped),
  rule(String.raw`[¼½¾⅓⅔⅛⅜⅝⅞]`, (token) => escaped(token.normalize('NFKD').replace('⁄', '/'))),
  // and/or, black/white t-shirts.
  rule(String.raw`[\p{L}\d]+(?:-\p{L}+){0,2}(?:\/[\p{L}\d]+(?:-\p{L}+){0,2}){1,2}`, escaped),
  rule(String.raw`[A-Z]*\$|#`, undefined, 'uy'),
  rule('[£€¢]', (token) => ({ '£': '#', '€': '$', '¢': 'cents' })[token] ?? token),
  rule(String.raw`(?:${abbreviations})\.`),
  rule(String.raw`\p{L}(?:\.\p{L})+\.`),
  rule(String.raw`(?<token>(?:ca|figs?|nos?|vols?|pp|approx|chs?|op)\.)\s?\d`),
  // o'clock, d'or, t-shirt, black-and-white, 2nd, 35-year-old.
  rule(`${piece}(?:${hyphen}${piece})*`, straight),
  rule(String.raw`[\p{L}\d][\p{L}\d.,]*(?:[-_][\p{L}\d]+(?:\.\d+)?)+`),
  rule(String.raw`[A-Z]+(?:[+&][A-Z]+)+`, undefined, 'uy'),
  rule('&amp;', () => '&'),
  rule('&quot;|"|“|”|„|‟|«|»', () => "''"),
  rule("``|''|`'|‘‘|’’", () => "''"),
  rule(`${anyQuote}|[‹›‚]`, () => "'"),
  rule(String.raw`(?<token>${quote}\d\d)${ending}`, straight),
  rule(String.raw`(?<token>[<>]?[:;=][-o*']?[()DPdpO\\{@|[\]])(?![A-Za-z])`, named, 'uy'),
  rule(String.raw`\.\.\.+|…|\. (?:\. )+\.`, () => '...'),
  rule('[!?]+'),
  rule('-{3,4}|–|—|―', () => '--'),
  rule(`${hyphen}+`),
  rule('[[\\](){}]', named),
  rule('<<|>>|@+|_+|#+'),
  rule(String.raw`\*+|\/`, escaped),
  rule(String.raw`[.,;:<>&%+=~^|\\°×÷±§©®™•]`),
]

/** What cannot be told is left out, as it is there. */
function longestAt(text: string, at: number): { token: string | null; length: number } {
  let best: { token: string | null; length: number; taken: number } | null = null
  for (const { pattern, write } of rules) {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match === null || match[0].length <= (best?.length ?? 0)) continue
    const taken = match.groups?.['token'] ?? match[0]
    const token = write?.(taken) ?? taken
    best = { token: token === '' ? null : token, length: match[0].length, taken: taken.length }
  }
  if (best !== null) return { token: best.token, length: best.taken }
  return { token: null, length: (text.codePointAt(at) ?? 0) > 0xff_ff ? 2 : 1 }
}

function straight(token: string): string {
  return token.replaceAll(/[’´‘‛]/g, "'")
}

const bracketNames: Readonly<Record<string, string>> = {
  '(': '-LRB-',
  ')': '-RRB-',
  '[': '-LSB-',
  ']': '-RSB-',
  '{': '-LCB-',
  '}': '-RCB-',
}

function named(token: string): string {
  return token.replaceAll(/[[\](){}]/g, (bracket) => bracketNames[bracket] ?? bracket)
}
