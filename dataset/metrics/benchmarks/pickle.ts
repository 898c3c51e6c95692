// Reads Python's pickle where it is plain data: lists, dicts, texts, numbers. RefCOCO's expressions come so. It makes no
// objects and calls nothing: a pickle that asks for that is refused. It does not know what the data mean.
import { UserError } from '../../../schemas/errors.ts'

/** A list or dict that another place of the pickle may name again is the same object here too. */
type Value = unknown
type Machine = {
  bytes: Buffer
  at: number
  stack: Value[]
  /** Heights of the stack that MARK left. */
  marks: number[]
  memo: Map<number, Value>
}

const stop = 0x2e

/** The value of protocols 0 to 4, tuples as arrays. Throws UserError for what is no pickle of plain data. */
export function readPickle(bytes: Buffer, name: string): unknown {
  const machine: Machine = { bytes, at: 0, stack: [], marks: [], memo: new Map() }
  try {
    for (;;) {
      const code = machine.bytes.readUInt8(machine.at++)
      if (code === stop) return pop(machine)
      const step = steps.get(code)
      if (step === undefined)
        throw new UserError(`it has the operation ${describeCode(code)} at byte ${machine.at - 1}`)
      step(machine)
    }
  } catch (error) {
    // Whatever else is thrown is a read behind the end: the file was cut.
    const why = error instanceof UserError ? error.message : `it ends at byte ${bytes.length} inside a value`
    throw new UserError(`${name} is no pickle of plain lists, dicts, texts and numbers: ${why}`, {
      cause: error,
    })
  }
}

function describeCode(code: number): string {
  return code > 0x20 && code < 0x7f ? JSON.stringify(String.fromCharCode(code)) : `0x${code.toString(16)}`
}

type Step = (machine: Machine) => void

/** By opcode, as CPython's pickletools.py names them. */
const steps = new Map<number, Step>([
  [0x80, (m) => void take(m, 1)], // PROTO
  [0x95, (m) => void take(m, 8)], // FRAME
  [code('('), (m) => void m.marks.push(m.stack.length)],
  [code('0'), (m) => void pop(m)],
  [code('N'), (m) => void m.stack.push(null)],
  [0x88, (m) => void m.stack.push(true)],
  [0x89, (m) => void m.stack.push(false)],
  [code('I'), (m) => void m.stack.push(wholeOrBoolean(line(m)))],
  [code('L'), (m) => void m.stack.push(numberOf(line(m).replace(/L$/, '')))],
  [code('F'), (m) => void m.stack.push(numberOf(line(m)))],
  [code('J'), (m) => void m.stack.push(take(m, 4).readInt32LE())],
  [code('K'), (m) => void m.stack.push(take(m, 1).readUInt8())],
  [code('M'), (m) => void m.stack.push(take(m, 2).readUInt16LE())],
  [code('G'), (m) => void m.stack.push(take(m, 8).readDoubleBE())],
  [0x8a, (m) => void m.stack.push(littleEndian(take(m, take(m, 1).readUInt8())))], // LONG1
  [code('S'), (m) => void m.stack.push(quoted(line(m)))],
  [code('V'), (m) => void m.stack.push(escaped(line(m)))],
  [code('U'), (m) => void m.stack.push(text(m, 1))],
  [code('T'), (m) => void m.stack.push(text(m, 4))],
  [code('X'), (m) => void m.stack.push(text(m, 4))],
  [code('C'), (m) => void m.stack.push(text(m, 1))],
  [code('B'), (m) => void m.stack.push(text(m, 4))],
  [0x8c, (m) => void m.stack.push(text(m, 1))], // SHORT_BINUNICODE
  [code(']'), (m) => void m.stack.push([])],
  [code(')'), (m) => void m.stack.push([])],
  [code('}'), (m) => void m.stack.push({})],
  [code('l'), (m) => void m.stack.push(fromMark(m))],
  [code('t'), (m) => void m.stack.push(fromMark(m))],
  [code('d'), (m) => setItems(m, { into: {}, pairs: fromMark(m), isNew: true })],
  [0x85, (m) => void m.stack.push(m.stack.splice(-1))], // TUPLE1
  [0x86, (m) => void m.stack.push(m.stack.splice(-2))],
  [0x87, (m) => void m.stack.push(m.stack.splice(-3))],
  [code('a'), (m) => append(m, [pop(m)])],
  [code('e'), (m) => append(m, fromMark(m))],
  [code('s'), (m) => setItems(m, { into: m.stack.at(-3), pairs: m.stack.splice(-2) })],
  [
    code('u'),
    (m) => {
      const pairs = fromMark(m)
      setItems(m, { into: m.stack.at(-1), pairs })
    },
  ],
  [code('p'), (m) => remember(m, numberOf(line(m)))],
  [code('q'), (m) => remember(m, take(m, 1).readUInt8())],
  [code('r'), (m) => remember(m, take(m, 4).readUInt32LE())],
  [0x94, (m) => remember(m, m.memo.size)], // MEMOIZE
  [code('g'), (m) => recall(m, numberOf(line(m)))],
  [code('h'), (m) => recall(m, take(m, 1).readUInt8())],
  [code('j'), (m) => recall(m, take(m, 4).readUInt32LE())],
])

function code(letter: string): number {
  return letter.charCodeAt(0)
}

function take(machine: Machine, length: number): Buffer {
  const { bytes, at } = machine
  if (at + length > bytes.length) throw new RangeError('behind the end')
  machine.at += length
  return bytes.subarray(at, at + length)
}

function line(machine: Machine): string {
  const end = machine.bytes.indexOf(0x0a, machine.at)
  if (end === -1) throw new RangeError('behind the end')
  const found = machine.bytes.toString('latin1', machine.at, end)
  machine.at = end + 1
  return found
}

function text(machine: Machine, lengthBytes: 1 | 4): string {
  return take(machine, take(machine, lengthBytes).readUIntLE(0, lengthBytes)).toString('utf8')
}

function pop({ stack }: Machine): Value {
  if (stack.length === 0) throw new UserError('it takes more values than it put down')
  return stack.pop()
}

function fromMark({ stack, marks }: Machine): Value[] {
  const mark = marks.pop()
  if (mark === undefined) throw new UserError('it ends a list that was not begun')
  return stack.splice(mark)
}

function append({ stack }: Machine, values: readonly Value[]): void {
  const list = stack.at(-1)
  if (!Array.isArray(list)) throw new UserError('it adds to what is no list')
  for (const value of values) list.push(value)
}

type SetItems = { into: Value; pairs: readonly Value[]; isNew?: boolean }

function setItems({ stack }: Machine, { into, pairs, isNew = false }: SetItems): void {
  if (typeof into !== 'object' || into === null || Array.isArray(into))
    throw new UserError('it sets keys of what is no dict')
  // Own properties, also for a key that is called __proto__.
  for (let at = 0; at + 1 < pairs.length; at += 2)
    Object.defineProperty(into, String(pairs[at]), {
      value: pairs[at + 1],
      enumerable: true,
      writable: true,
      configurable: true,
    })
  if (isNew) stack.push(into)
}

function remember({ stack, memo }: Machine, index: number): void {
  memo.set(index, stack.at(-1))
}

function recall({ stack, memo }: Machine, index: number): void {
  if (!memo.has(index)) throw new UserError(`it recalls value ${index}, which it never kept`)
  stack.push(memo.get(index))
}

/** Protocol 0 writes False and True as numbers with a zero before them. */
function wholeOrBoolean(digits: string): number | boolean {
  return digits === '00' || digits === '01' ? digits === '01' : numberOf(digits)
}

function numberOf(digits: string): number {
  const value = Number(digits)
  if (digits.trim() === '' || Number.isNaN(value))
    throw new UserError(`it has ${JSON.stringify(digits.slice(0, 40))} for a number`)
  return value
}

function littleEndian(bytes: Buffer): number {
  if (bytes.length === 0) return 0
  if (bytes.length <= 6) return bytes.readIntLE(0, bytes.length)
  throw new UserError(`it has a whole number of ${bytes.length} bytes`)
}

/** Python 2's text in quotes; `\n`, `\'` and `\xhh` as Python wrote them. */
function quoted(found: string): string {
  const inner = /^(['"])(.*)\1$/s.exec(found.trim())?.[2]
  if (inner === undefined) throw new UserError(`it has the text ${found.slice(0, 40)} without quotes`)
  const named: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' }
  const bytes = inner.replaceAll(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex: string | undefined, one: string) =>
    hex === undefined ? (named[one] ?? one) : String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** Protocol 0's text: Latin-1, and what goes beyond as \u and \U. */
function escaped(found: string): string {
  return found.replaceAll(/\\(?:u([0-9a-f]{4})|U([0-9a-f]{8}))/g, (_, short: string, long: string) =>
    String.fromCodePoint(Number.parseInt(short ?? long, 16)),
  )
}
