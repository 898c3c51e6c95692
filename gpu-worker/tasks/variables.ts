// The variables of a user's prompt: which there are, and filling them in. What is not named never reaches a prompt.
import { z } from 'zod'

const json = z.json()
export type JsonValue = z.infer<typeof json>

/** What an image brings to a prompt that asks for it. */
export type PromptItem = {
  key: string
  meta?: Readonly<Record<string, JsonValue>> | undefined
  existing?: string | undefined
}

/** Of a value in a prompt; a longer one is no name and no note. */
const maxValueChars = 2000

/** As many as a message carries on. */
const maxPrevTasks = 8

const pattern = /\{\{\s*([^{}]*?)\s*\}\}/g

export type Filled =
  | { ok: true; text: string; inputs: Record<string, JsonValue> }
  | { ok: false; message: string }

/** Every variable of a prompt, in order. */
function variablesOf(prompt: string): string[] {
  return [...prompt.matchAll(pattern)].map(([, name = '']) => name)
}

/** Why a prompt's variables cannot be filled in by anything, or null. */
export function variableProblem(prompt: string): string | null {
  for (const name of variablesOf(prompt)) {
    if (!/^(?:filename|folder|meta(?:\.[\w-]+)+|prev\.[a-z][a-z0-9-]*(?:\.[\w-]+)+)$/.test(name))
      return `{{${name}}} is no variable; there are {{filename}}, {{folder}}, {{meta.x}} and {{prev.TASK.field}}`
  }
  const tasks = new Set(prevTasksOf(prompt))
  if (tasks.size <= maxPrevTasks) return null
  return `it takes what ${tasks.size} tasks say (${[...tasks].join(', ')}); at most ${maxPrevTasks} are`
}

/** The tasks whose output a prompt takes. */
export function prevTasksOf(prompt: string): string[] {
  return variablesOf(prompt).flatMap((name) => /^prev\.([^.]+)\./.exec(name)?.[1] ?? [])
}

/** Fills in what the image brings; variables of earlier tasks stay. */
export function fillFromItem(prompt: string, { key, meta = {} }: PromptItem): Filled {
  const parts = key.split('/')
  const known: Record<string, JsonValue> = {
    filename: parts.at(-1) ?? key,
    folder: parts.slice(0, -1).join('/'),
    meta: { ...meta },
  }
  return fill(prompt, { known, isOurs: (name) => !name.startsWith('prev.') })
}

/** Fills in what earlier tasks said. */
export function fillFromTasks(prompt: string, outputs: Readonly<Record<string, JsonValue>>): Filled {
  return fill(prompt, { known: { prev: { ...outputs } }, isOurs: (name) => name.startsWith('prev.') })
}

function fill(
  prompt: string,
  { known, isOurs }: { known: Record<string, JsonValue>; isOurs: (name: string) => boolean },
): Filled {
  const inputs: Record<string, JsonValue> = {}
  const missing: string[] = []
  const text = prompt.replaceAll(pattern, (whole, name: string) => {
    if (!isOurs(name)) return whole
    const value = lookUp(known, name.split('.'))
    if (value === undefined || value === null) {
      missing.push(name)
      return ''
    }
    inputs[name] = value
    return asText(value)
  })
  if (missing.length === 0) return { ok: true, text, inputs }
  return { ok: false, message: `the prompt takes ${missing.join(', ')}, which this image does not have` }
}

function lookUp(value: JsonValue, path: readonly string[]): JsonValue | undefined {
  const [name, ...rest] = path
  if (name === undefined) return value
  if (Array.isArray(value)) return /^\d+$/.test(name) ? lookUp(value[Number(name)] ?? null, rest) : undefined
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return lookUp(value[name] ?? null, rest)
}

/** One line without control characters, in which nothing looks like a variable of ours. */
function asText(value: JsonValue): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text
    .replaceAll(/\p{Cc}+/gu, ' ')
    .replaceAll('{{', '{ {')
    .slice(0, maxValueChars)
}
