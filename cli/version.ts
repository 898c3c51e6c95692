// The version of this program, read from its package.json. It does not know who asks.
import { readFile } from 'node:fs/promises'

/** The built package has this file one folder deeper than its package.json, as the repository does. */
export async function readVersion(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8')
  return /"version":\s*"([^"]+)"/.exec(text)?.[1] ?? 'unknown'
}
