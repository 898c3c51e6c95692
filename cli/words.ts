// Counts, file names and commands as a person reads them on a terminal. It does not know what is being said.

/** File names can hold anything; control characters must not reach a terminal. */
export function printable(text: string): string {
  const short = text.length > 300 ? `${text.slice(0, 300)}…` : text
  return short.replace(/\p{Cc}|\p{Cf}/gu, '?')
}

/** A count with its noun: 1 image, 2 images. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** A path as one would type it into a shell: one that begins with a dash would pass for a flag. */
export function shellPath(path: string): string {
  return shellWord(path.startsWith('-') ? `./${path}` : path)
}

/** A word as one would type it into a shell. */
export function shellWord(text: string): string {
  return /^[\w./:=,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
