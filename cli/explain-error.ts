// What the command line says of an error that reached its root, and which exit code it means. It does not know the verbs.
import { editDistance } from '../dataset/metrics/edit-distance.ts'
import { RetryableError, UserError } from '../schemas/errors.ts'
import { diskSentences, systemCode } from '../schemas/system-error.ts'
import { printable } from './words.ts'

/** What to print and how to end; an error that is none of the user's and no passing trouble is shown whole, by null. */
export type Explained = { message: string | null; exitCode: 1 | 2 }

/** Explains what a verb threw; `usage` is its help text, or null where no verb was found. */
export function explainError(
  error: unknown,
  { verb, usage }: { verb: string; usage: string | null },
): Explained {
  if (error instanceof UserError) return { message: error.message, exitCode: 2 }
  // What may work the next time needs no stack.
  if (error instanceof RetryableError) return { message: error.message, exitCode: 1 }
  const message = explainArguments(error, { verb, usage: usage ?? '' }) ?? explainSystem(error)
  return message === null ? { message, exitCode: 1 } : { message, exitCode: 2 }
}

/** The word that was probably meant: begun or ended alike, or within two typing mistakes; null when none is near. */
export function nearestWord(word: string, words: Iterable<string>): string | null {
  const isBegun = (known: string) =>
    (word !== '' && known.startsWith(word)) || (known.length >= 3 && word.startsWith(known))
  const ranked = [...words]
    .map((known) => ({ known, distance: isBegun(known) ? 0 : editDistance(word.slice(0, 30), known) }))
    .toSorted((left, right) => left.distance - right.distance || left.known.length - right.known.length)
  const [best] = ranked
  return best !== undefined && best.distance <= 2 ? best.known : null
}

/** What Node's parseArgs found wrong with the flags, in our words; null for any other error. */
function explainArguments(error: unknown, { verb, usage }: { verb: string; usage: string }): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null
  const more = `see coglabel ${verb} --help`
  const [, quoted = ''] = /'(.*?)(?: <value>)?'/s.exec(error.message) ?? []
  switch (error.code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION': {
      const flags = new Set([...usage.matchAll(/--([a-z][a-z0-9-]*)/g)].map(([, flag = '']) => flag))
      const near = nearestWord(quoted.replace(/^-+/, '').toLowerCase(), flags)
      const meant = near === null ? '' : `; did you mean "--${near}"?`
      const path = quoted.startsWith('--') ? '' : '; a path that begins with a dash is written ./-…'
      return `${verb} has no flag ${JSON.stringify(quoted)}${meant}${path}\n${more}`
    }
    case 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE': {
      if (error.message.includes('does not take')) return `${quoted} takes no value\n${more}`
      const flag = quoted.split(', ').at(-1) ?? quoted
      return `${flag} needs a value; one that begins with a dash is written ${flag}=-…\n${more}`
    }
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL':
      return `${verb} takes flags only, but there is ${JSON.stringify(quoted)}\n${more}`
    default:
      return null
  }
}

const systemSentences: Readonly<Record<string, string>> = {
  ...diskSentences,
  ENOENT: 'there is no such file or folder',
  EACCES: 'this user may not do that there',
  EPERM: 'this user may not do that there',
  EISDIR: 'it is a folder, expected a file',
  ENOTDIR: 'a part of the path is a file, expected a folder',
  ENOTEMPTY: 'the folder is not empty',
  EEXIST: 'there is such a file already',
  ENAMETOOLONG: 'the name is too long for this disk',
  ELOOP: 'the symbolic links go round in a circle',
  EMFILE: 'too many files are open; raise the limit (ulimit -n)',
  EIO: 'the disk could not be read or written',
  EADDRINUSE: 'the port is taken; give another one',
  EADDRNOTAVAIL: 'this machine has no such address',
}

/** What the operating system refused, where it names a path or an address: the user's disk, not our bug. */
function explainSystem(error: unknown): string | null {
  if (!(error instanceof Error) || !('syscall' in error)) return null
  const sentence = systemSentences[systemCode(error)]
  const subject = 'path' in error ? error.path : 'port' in error ? `port ${String(error.port)}` : null
  if (sentence === undefined || typeof subject !== 'string') return null
  return `${printable(subject)}: ${sentence} (${String(error.syscall)}: ${systemCode(error)})`
}
