// The lines of a text that comes in chunks of bytes: only a line feed ends one. JSON may hold U+2028 and U+2029 as they
// are, where Node's readline ends a line too. It does not know what the lines say.
import { UserError } from '../schemas/errors.ts'

/** Without the carriage return before a line feed, and without a byte order mark. Throws UserError for one too long. */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  { name, maxChars }: { name: string; maxChars: number },
): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of chunks) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) yield tidy(line, { name, maxChars })
    tidy(rest, { name, maxChars })
  }
  rest += decoder.decode()
  if (rest !== '') yield tidy(rest, { name, maxChars })
}

function tidy(line: string, { name, maxChars }: { name: string; maxChars: number }): string {
  if (line.length > maxChars)
    throw new UserError(
      `a line of ${name} has more than ${maxChars} characters; expected lines that end in a line feed, none so long`,
    )
  return line.replace(/\r$/, '').replace(/^\u{feff}/u, '')
}
