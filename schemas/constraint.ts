// Which answers a prompt allows: named forms for tasks, and patterns as data for whoever masks tokens. It does not know
// tokens or tasks.
import { z } from 'zod'
import { UserError } from './errors.ts'

/** Characters of ASCII by code, both ends included; `other` adds every character beyond ASCII. */
const CharacterClass = z.strictObject({
  ranges: z.array(z.tuple([z.int().min(0).max(127), z.int().min(0).max(127)])).max(64),
  other: z.boolean(),
})

/** A regular language as a tree. */
export type Pattern =
  | { text: string }
  | z.infer<typeof CharacterClass>
  | { sequence: readonly Pattern[] }
  | { choice: readonly Pattern[] }
  | { repeat: Pattern; min: number; max: number | null }

export const Constraint = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('boxes'),
      text: z
        .enum(['none', 'absence', 'around'])
        .describe('none: boxes and nothing else; absence: or words that there is none; around: any text'),
    }),
    z.strictObject({ kind: z.literal('yes-no') }),
    z.strictObject({ kind: z.literal('number') }),
    z.strictObject({
      kind: z.literal('choices'),
      choices: z.array(z.string().min(1).max(200)).min(1).max(256),
    }),
    z.strictObject({
      kind: z.literal('json'),
      schema: z.record(z.string(), z.json()).describe('JSON Schema of the answer'),
    }),
  ])
  .describe('what the answer can be; tokens that lead elsewhere are not chosen')
export type Constraint = z.infer<typeof Constraint>

const maxBoxes = 32

const text = (value: string): Pattern => ({ text: value })
const sequence = (...parts: Pattern[]): Pattern => ({ sequence: parts })
const choice = (...options: Pattern[]): Pattern => ({ choice: options })
const optional = (part: Pattern): Pattern => ({ repeat: part, min: 0, max: 1 })
const digit: Pattern = { ranges: [[48, 57]], other: false }
/** Any character that does not begin or end a box, control characters left out but for the line feed. */
const plain: Pattern = {
  ranges: [
    [10, 10],
    [32, 90],
    [92, 92],
    [94, 126],
  ],
  other: true,
}
const letters: Pattern = {
  ranges: [
    [32, 32],
    [97, 122],
  ],
  other: true,
}

/** The pattern of a form. A space may come first: models emit it. Throws UserError for a JSON Schema that cannot be held. */
export function patternOf(constraint: Constraint): Pattern {
  return sequence(optional(text(' ')), bodyOf(constraint))
}

function bodyOf(constraint: Constraint): Pattern {
  switch (constraint.kind) {
    case 'boxes':
      return boxesAmid(constraint.text)
    case 'yes-no':
      return sequence(choice(text('Yes'), text('No'), text('yes'), text('no')), optional(text('.')))
    case 'number':
      return sequence(choice(countWords, { repeat: digit, min: 1, max: 6 }), optional(text('.')))
    case 'choices':
      return sequence(choice(...constraint.choices.map(text)), optional(text('.')))
    case 'json':
      return jsonPattern(constraint.schema, 0)
    default:
      return constraint satisfies never
  }
}

const countWords = choice(
  ...'Zero One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve None'
    .split(' ')
    .flatMap((word) => [text(word), text(word.toLowerCase())]),
)

/** [[ddd,ddd,ddd,ddd;…]] */
const box = sequence(...[0, 1, 2, 3].flatMap((at) => [...(at === 0 ? [] : [text(',')]), digit, digit, digit]))
const boxes = sequence(
  text('[['),
  box,
  { repeat: sequence(text(';'), box), min: 0, max: maxBoxes - 1 },
  text(']]'),
)

function boxesAmid(around: 'none' | 'absence' | 'around'): Pattern {
  if (around === 'around') return { repeat: choice(plain, boxes), min: 1, max: null }
  if (around === 'none') return boxes
  const absence = sequence(
    choice(text('There is no '), text('There are no '), text('No ')),
    { repeat: letters, min: 1, max: 60 },
    optional(text('.')),
  )
  return choice(boxes, absence, text('None.'))
}

const maxDepth = 8
const maxProperties = 64
const maxItems = 32
/** A counted string makes a state for each character, so only short limits are held here; others end with the answer limit. */
const maxCountedChars = 64

const space = optional(text(' '))
const stringCharacter = choice(
  {
    ranges: [
      [32, 33],
      [35, 91],
      [93, 126],
    ],
    other: true,
  },
  sequence(text('\\'), choice(...'"\\/bfnrt'.split('').map(text))),
)
const integer = sequence(
  optional(text('-')),
  choice(text('0'), sequence({ ranges: [[49, 57]], other: false }, { repeat: digit, min: 0, max: 14 })),
)

/**
 * JSON that a schema allows, written with at most one space after each comma and colon, keys in the order of the schema.
 * Held: type, properties, required, items, minItems, maxItems, maxLength to 64, enum, const, anyOf, oneOf.
 */
function jsonPattern(schema: unknown, depth: number): Pattern {
  if (depth > maxDepth)
    throw new UserError(`the answer's schema is more than ${maxDepth} levels deep; make it flatter`)
  if (!isObject(schema))
    throw new UserError(`the answer's schema has ${JSON.stringify(schema)?.slice(0, 80)}; expected an object`)
  if ('$ref' in schema)
    throw new UserError("the answer's schema has $ref, which is not held; write the part out")
  if ('const' in schema) return literal(schema['const'], 'const')
  const values = schema['enum']
  if (Array.isArray(values)) return oneOf('enum', values, (value) => literal(value, 'enum'))
  const options = schema['anyOf'] ?? schema['oneOf']
  if (Array.isArray(options))
    return oneOf('anyOf or oneOf', options, (option) => jsonPattern(option, depth + 1))
  const { type } = schema
  if (Array.isArray(type))
    return oneOf('type', type, (one) => jsonPattern({ ...schema, type: one }, depth + 1))
  switch (type) {
    case 'object':
      return objectPattern(schema, depth)
    case 'array':
      return arrayPattern(schema, depth)
    case 'string':
      return stringPattern(schema)
    case 'integer':
      return integer
    case 'number':
      return sequence(integer, optional(sequence(text('.'), { repeat: digit, min: 1, max: 15 })))
    case 'boolean':
      return choice(text('true'), text('false'))
    case 'null':
      return text('null')
    default:
      throw new UserError(
        `the answer's schema has the type ${JSON.stringify(type) ?? 'of nothing'}; expected object, array, string, integer, number, boolean or null`,
      )
  }
}

function oneOf(keyword: string, options: readonly unknown[], make: (option: unknown) => Pattern): Pattern {
  if (options.length > 0) return choice(...options.map(make))
  throw new UserError(
    `the answer's schema has an empty ${keyword}, which no answer fits; name what is allowed`,
  )
}

/** Lists and objects are none: the answer's check compares values, not what they hold. */
function literal(value: unknown, keyword: string): Pattern {
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value))
    return text(JSON.stringify(value))
  throw new UserError(
    `the answer's schema has ${JSON.stringify(value)?.slice(0, 80)} in ${keyword}; expected a text, a number, true, false or null`,
  )
}

function stringPattern(schema: Record<string, unknown>): Pattern {
  const longest = schema['maxLength']
  const max =
    typeof longest === 'number' && longest <= maxCountedChars ? Math.max(0, Math.floor(longest)) : null
  return sequence(text('"'), { repeat: stringCharacter, min: 0, max }, text('"'))
}

/** Required keys always, others may be left out; so the comma belongs to whatever comes after the first that is there. */
function objectPattern(schema: Record<string, unknown>, depth: number): Pattern {
  const properties = Object.entries(isObject(schema['properties']) ? schema['properties'] : {})
  if (properties.length > maxProperties)
    throw new UserError(
      `the answer's schema has ${properties.length} keys; expected at most ${maxProperties}`,
    )
  const required = new Set<unknown>(Array.isArray(schema['required']) ? schema['required'] : [])
  for (const name of required)
    if (!properties.some(([known]) => known === name))
      throw new UserError(
        `the answer's schema requires ${JSON.stringify(name)}, which is not among its properties; describe it there`,
      )
  const members = properties.map(([name, value]) => ({
    isRequired: required.has(name),
    member: sequence(text(`${JSON.stringify(name)}:`), space, jsonPattern(value, depth + 1)),
  }))
  return sequence(text('{'), membersFrom(members), text('}'))
}

type Member = { isRequired: boolean; member: Pattern }

function membersFrom(members: readonly Member[]): Pattern {
  const comma = sequence(text(','), space)
  const later = (rest: readonly Member[]): Pattern =>
    sequence(
      ...rest.map(({ isRequired, member }) => {
        const behind = sequence(comma, member)
        return isRequired ? behind : optional(behind)
      }),
    )
  const starts: Pattern[] = []
  for (const [index, { isRequired, member }] of members.entries()) {
    starts.push(sequence(member, later(members.slice(index + 1))))
    if (isRequired) return choice(...starts)
  }
  return choice(...starts, text(''))
}

function arrayPattern(schema: Record<string, unknown>, depth: number): Pattern {
  const item = jsonPattern(schema['items'] ?? { type: 'string' }, depth + 1)
  const count = (name: string, otherwise: number) => {
    const value = schema[name]
    return typeof value === 'number' ? Math.min(maxItems, Math.max(0, Math.floor(value))) : otherwise
  }
  const [min, max] = [count('minItems', 0), count('maxItems', maxItems)]
  if (min > max || Number(schema['minItems']) > maxItems)
    throw new UserError(
      `the answer's schema wants ${JSON.stringify(schema['minItems'])} to ${JSON.stringify(schema['maxItems'] ?? maxItems)} items; expected a range within ${maxItems}`,
    )
  if (max === 0) return text('[]')
  const more = { repeat: sequence(text(','), space, item), min: Math.max(0, min - 1), max: max - 1 }
  const some = sequence(text('['), item, more, text(']'))
  return min === 0 ? choice(text('[]'), some) : some
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
