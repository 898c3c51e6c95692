// Reading a large JSON file element by element: those of its top array, or of the arrays in its top object.
// It does not know what the elements mean, and never holds more than one.
import { createReadStream } from 'node:fs'
import { UserError } from '../../../schemas/errors.ts'
import { splitLines } from '../../text-lines.ts'

export type JsonElement = { section: string; value: unknown }

/** One element must fit into memory. */
const maxElementChars = 256 * 1024 * 1024

/**
 * Elements of `[…]` have the section ''. Of `{"a": […], "b": 1}` the elements of `a` have the section 'a', and `b` is
 * one element of section 'b'. Throws UserError where the text is not JSON.
 */
export async function* readJsonElements(path: string): AsyncGenerator<JsonElement> {
  const scanner = new ElementScanner(path)
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: 1024 * 1024 }))
    yield* scanner.push(String(chunk).replace(/^\u{feff}/u, ''))
  scanner.end()
}

/** The state between chunks. A class, because it lives as long as one file is read. */
class ElementScanner {
  readonly #path: string
  #depth = 0
  /** Depth of the brackets whose elements are wanted: 1, or 2 inside an array of a top object. */
  #level = 1
  #isObject = false
  #inString = false
  #escaped = false
  #section: string | null = null
  #text = ''

  constructor(path: string) {
    this.#path = path
  }

  *push(chunk: string): Generator<JsonElement> {
    let from = 0
    for (let at = 0; at < chunk.length; at += 1) {
      const code = chunk.charCodeAt(at)
      if (this.#passesString(code) || !structural.has(code)) continue
      const edge = this.#edge(code)
      if (edge !== null) {
        yield* this.#take(edge, this.#text + chunk.slice(from, at))
        this.#text = ''
        from = at + 1
      }
      this.#step(code, edge)
    }
    if (this.#depth > 0) this.#text += chunk.slice(from)
    if (this.#text.length > maxElementChars)
      throw new UserError(`${this.#path} holds an element of over ${maxElementChars} characters; split it`)
  }

  end(): void {
    if (this.#depth !== 0)
      throw new UserError(`${this.#path} ends inside its JSON; it was cut off, write it again`)
  }

  /** True inside a string, where brackets and commas mean nothing. */
  #passesString(code: number): boolean {
    if (!this.#inString) {
      this.#inString = code === quote
      return this.#inString
    }
    if (this.#escaped) this.#escaped = false
    else if (code === backslash) this.#escaped = true
    else if (code === quote) this.#inString = false
    return true
  }

  /** What a bracket, comma or colon means here, or null when it is inside an element. */
  #edge(code: number): 'open' | 'name' | 'element' | null {
    if (this.#depth === 0) return 'open'
    if (this.#depth !== this.#level) return null
    if (code === colon) return this.#isObject && this.#level === 1 ? 'name' : null
    if (code === comma || code === closeBracket || code === closeBrace) return 'element'
    const beginsArray = code === openBracket && this.#isObject && this.#level === 1 && this.#section !== null
    return beginsArray ? 'open' : null
  }

  *#take(edge: 'open' | 'name' | 'element', text: string): Generator<JsonElement> {
    if (edge === 'name') this.#section = String(this.#parse(text))
    if (edge !== 'element' || text.trim() === '') return
    yield { section: this.#section ?? '', value: this.#parse(text) }
    if (this.#isObject && this.#level === 1) this.#section = null
  }

  #step(code: number, edge: 'open' | 'name' | 'element' | null): void {
    if (code === openBracket || code === openBrace) {
      if (this.#depth === 0) this.#isObject = code === openBrace
      else if (edge === 'open') this.#level = 2
      this.#depth += 1
    }
    if (code !== closeBracket && code !== closeBrace) return
    if (this.#level === 2 && this.#depth === 2) {
      this.#level = 1
      this.#section = null
    }
    this.#depth -= 1
  }

  #parse(text: string): unknown {
    return expectJson(text, this.#path)
  }
}

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a]
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d]
const structural = new Set([comma, colon, openBracket, closeBracket, openBrace, closeBrace])

/** The value of a text. Throws UserError with the place and the beginning of what is no JSON. */
export function expectJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UserError(`${where} holds what is not JSON: ${text.trim().slice(0, 80)}`, { cause: error })
  }
}

/** The lines of a JSON Lines file. Throws UserError with the number of a line that is none. */
export async function* readJsonLines(path: string): AsyncGenerator<JsonElement> {
  let number = 0
  for await (const line of splitLines(createReadStream(path), { name: path, maxChars: maxElementChars })) {
    number += 1
    if (line.trim() !== '') yield { section: '', value: expectJson(line, `line ${number} of ${path}`) }
  }
}
