// Which records an export takes: `task=qa and checks.region-cycle>=0.5` as a predicate. Pure; it knows records only.
import { UserError } from '../../../schemas/errors.ts'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import { contentOfRecord } from './content.ts'

export type Predicate = (record: LabelRecord) => boolean

type Value = string | number | boolean | null | undefined

const fields: Readonly<Record<string, (record: LabelRecord) => Value>> = {
  key: ({ source }) => source.key,
  task: ({ task }) => task,
  status: ({ status }) => status,
  recordId: ({ recordId }) => recordId,
  ordinal: ({ ordinal }) => ordinal,
  attempt: ({ attempt }) => attempt,
  mime: ({ source }) => source.mime,
  bytes: ({ source }) => source.bytes,
  width: ({ image }) => image?.width,
  height: ({ image }) => image?.height,
  finishReason: ({ finishReason }) => finishReason,
  outputTokens: ({ usage }) => usage.outputTokens,
  model: ({ model }) => model.name,
  licence: ({ model }) => model.licence,
  createdAt: ({ createdAt }) => createdAt,
  duplicateOf: ({ duplicateOf }) => duplicateOf,
  repairs: ({ repairs }) => repairs?.length ?? 0,
  text: (record) => textOf(record),
  length: (record) => textOf(record).length,
  boxes: (record) => contentOfRecord(record).regions.reduce((sum, { boxes }) => sum + boxes.length, 0),
}
const prefixes = ['checks.NAME (its score)', 'checks.NAME.pass', 'meta.NAME']

const operators = ['>=', '<=', '!=', '=', '>', '<', '~'] as const
type Operator = (typeof operators)[number]

/** Longer conditions are a mistake or an attack. */
const maxChars = 10_000
const maxDepth = 100

type Token = { kind: 'word' | 'text' | 'operator' | '(' | ')' | 'end'; text: string; at: number }

/**
 * Comparisons joined by `and`, `or`, `not` and parentheses; `and` binds tighter than `or`. A field that a record has
 * not makes a comparison false. `~` looks for a text, whatever its case. Throws UserError that points at the place.
 */
export function parseWhere(condition: string): Predicate {
  if (condition.length > maxChars)
    throw new UserError(`the condition has ${condition.length} characters, at most ${maxChars} are read`)
  const parser = { condition, tokens: tokenize(condition), next: 0, depth: 0 }
  const predicate = parseOr(parser)
  const rest = peek(parser)
  if (rest.kind !== 'end') throw explain(parser, rest, 'expected "and", "or" or the end')
  return predicate
}

function tokenize(condition: string): Token[] {
  const tokens: Token[] = []
  const pattern = /\s*(?:([()])|(>=|<=|!=|==|=|>|<|~)|'([^']*)'|"([^"]*)"|([^\s()=<>!~'"]+))/gy
  while (pattern.lastIndex < condition.trimEnd().length) {
    const start = pattern.lastIndex
    const match = pattern.exec(condition)
    if (match === null) {
      const at = start + condition.slice(start).search(/\S/)
      throw explain(
        { condition },
        { at, text: condition.charAt(at) },
        'expected a word, a quoted text or an operator',
      )
    }
    const [whole, bracket, operator, single, double, word] = match
    const at = start + whole.length - whole.trimStart().length
    if (bracket === '(' || bracket === ')') tokens.push({ kind: bracket, text: bracket, at })
    else if (operator !== undefined)
      tokens.push({ kind: 'operator', text: operator === '==' ? '=' : operator, at })
    else if (word !== undefined) tokens.push({ kind: 'word', text: word, at })
    else tokens.push({ kind: 'text', text: single ?? double ?? '', at })
  }
  return [...tokens, { kind: 'end', text: '', at: condition.length }]
}

type Parser = { condition: string; tokens: Token[]; next: number; depth: number }

function parseOr(parser: Parser): Predicate {
  const terms = [parseAnd(parser)]
  while (takeWord(parser, 'or')) terms.push(parseAnd(parser))
  return terms.length === 1 ? (terms[0] ?? (() => false)) : (record) => terms.some((term) => term(record))
}

function parseAnd(parser: Parser): Predicate {
  const terms = [parseNot(parser)]
  while (takeWord(parser, 'and')) terms.push(parseNot(parser))
  return terms.length === 1 ? (terms[0] ?? (() => false)) : (record) => terms.every((term) => term(record))
}

function parseNot(parser: Parser): Predicate {
  parser.depth += 1
  if (parser.depth > maxDepth)
    throw explain(parser, peek(parser), `parentheses and nots go deeper than ${maxDepth}`)
  try {
    if (takeWord(parser, 'not')) {
      const inner = parseNot(parser)
      return (record) => !inner(record)
    }
    if (peek(parser).kind !== '(') return parseComparison(parser)
    parser.next += 1
    const inner = parseOr(parser)
    const close = peek(parser)
    if (close.kind !== ')') throw explain(parser, close, 'expected "and", "or" or ")"')
    parser.next += 1
    return inner
  } finally {
    parser.depth -= 1
  }
}

function parseComparison(parser: Parser): Predicate {
  const name = peek(parser)
  if (name.kind !== 'word') throw explain(parser, name, 'expected a field, for example task=qa')
  const read = findField(name.text)
  if (read === null)
    throw explain(parser, name, `expected a field: ${[...Object.keys(fields), ...prefixes].join(', ')}`)
  parser.next += 1
  const operator = peek(parser)
  const known = operators.find((one) => one === operator.text)
  if (operator.kind !== 'operator' || known === undefined)
    throw explain(parser, operator, `expected one of ${operators.join(' ')}`)
  parser.next += 1
  const value = peek(parser)
  if (value.kind !== 'word' && value.kind !== 'text') throw explain(parser, value, 'expected a value')
  if (
    ['>', '<', '>=', '<='].includes(known) &&
    value.kind === 'word' &&
    Number.isNaN(Number(value.text)) &&
    name.text !== 'createdAt'
  )
    throw explain(parser, value, `expected a number after ${known}`)
  parser.next += 1
  return (record) => compare(read(record), known, value.text)
}

function findField(name: string): ((record: LabelRecord) => Value) | null {
  const plain = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (plain !== undefined) return plain
  const check = /^checks\.(.+?)(\.pass)?$/.exec(name)
  if (check !== null) {
    const [, wanted, pass] = check
    return ({ checks }) => {
      const found = checks.find((one) => one.name === wanted)
      return pass === undefined ? found?.score : found?.pass
    }
  }
  const meta = /^meta\.(.+)$/.exec(name)?.[1]
  if (meta === undefined) return null
  return (record) => {
    const value = record.meta?.[meta]
    return typeof value === 'object' ? JSON.stringify(value) : value
  }
}

function compare(value: Value, operator: Operator, wanted: string): boolean {
  if (value === undefined || value === null) return false
  if (operator === '~') return String(value).toLowerCase().includes(wanted.toLowerCase())
  const isNumeric = typeof value === 'number' && wanted.trim() !== '' && !Number.isNaN(Number(wanted))
  const [left, right] = isNumeric ? [value, Number(wanted)] : [String(value), wanted]
  switch (operator) {
    case '=':
      return left === right
    case '!=':
      return left !== right
    case '>':
      return left > right
    case '<':
      return left < right
    case '>=':
      return left >= right
    case '<=':
      return left <= right
  }
}

function textOf(record: LabelRecord): string {
  const { text, turns, regions } = contentOfRecord(record)
  if (text !== null) return text
  return [...turns.map(({ answer }) => answer), ...regions.map((region) => region.text)].join('\n')
}

function peek({ tokens, next }: Parser): Token {
  return tokens[next] ?? { kind: 'end', text: '', at: 0 }
}

function takeWord(parser: Parser, word: string): boolean {
  const token = peek(parser)
  if (token.kind !== 'word' || token.text.toLowerCase() !== word) return false
  parser.next += 1
  return true
}

function explain(
  { condition }: { condition: string },
  { at, text }: { at: number; text: string },
  expected: string,
): UserError {
  const seen = text === '' ? 'the end' : `"${text}"`
  return new UserError(
    `--where has ${seen} at character ${at + 1}; ${expected}\n  ${condition}\n  ${' '.repeat(at)}^`,
  )
}
