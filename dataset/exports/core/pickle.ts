// Writing Python pickles of plain data: lists, dicts, strings, whole numbers and fractions, protocol 2, which Python 2.3
// and later read. Loading a pickle may run code; these hold none, and nothing here reads one. It knows no format.
import { InvariantError } from '../../../schemas/errors.ts'

export type Plain = string | number | readonly Plain[] | { readonly [name: string]: Plain }

const bytes = (text: string) => Buffer.from(text, 'latin1')

/** Begins a list; items and the end follow. */
export const pickledListStart: Uint8Array = bytes('\u0080\u0002]')
/** An item of the list. */
export function pickledItem(value: Plain): Uint8Array {
  return Buffer.concat([...encode(value), bytes('a')])
}
export const pickledListEnd: Uint8Array = bytes('.')

function* encode(value: Plain): Generator<Uint8Array> {
  if (typeof value === 'string') yield* encodeText(value)
  else if (typeof value === 'number') yield encodeNumber(value)
  else if (Array.isArray(value)) {
    yield bytes(']')
    for (const item of value as readonly Plain[]) {
      // Array.isArray narrows to any[]; its items are Plain.
      yield* encode(item)
      yield bytes('a')
    }
  } else {
    yield bytes('}')
    for (const [name, item] of Object.entries(value)) {
      yield* encodeText(name)
      yield* encode(item)
      yield bytes('s')
    }
  }
}

function* encodeText(text: string): Generator<Uint8Array> {
  const encoded = Buffer.from(text)
  const head = Buffer.alloc(5)
  head.write('X')
  head.writeUInt32LE(encoded.length, 1)
  yield head
  yield encoded
}

/** An integer of 32 bits, or else a float: Python takes either as a number. */
function encodeNumber(value: number): Uint8Array {
  if (!Number.isFinite(value)) throw new InvariantError(`${value} was to be pickled; expected a number`)
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) {
    const integer = Buffer.alloc(5)
    integer.write('J')
    integer.writeInt32LE(value, 1)
    return integer
  }
  const float = Buffer.alloc(9)
  float.write('G')
  float.writeDoubleBE(value, 1)
  return float
}
