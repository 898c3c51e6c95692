// Starts one of our files as a process of its own. It does not know what the two say to each other.
import { type ChildProcess, fork, type ForkOptions } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Starts the file `name` that lies beside `module`, with a channel between them. Ctrl-C in a terminal does not reach it, nor
 * what a supervisor sends to a whole group: whether to stop is this process's decision, and one that is just starting
 * could not turn a signal down. So it has to end by itself when the channel closes; one that cannot says `detached: false`.
 */
export function startProcess(
  name: string,
  { module, args = [], ...options }: ForkOptions & { module: ImportMeta; args?: readonly string[] },
): ChildProcess {
  // The built package has its files as .js, the repository as .ts.
  const entry = new URL(`./${name}${extname(fileURLToPath(module.url))}`, module.url)
  return fork(entry, [...args], { detached: true, ...options })
}
