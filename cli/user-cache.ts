// Where this user keeps what can be made again. It does not know what that is.
import { lstat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { makeFolder } from '../dataset/stores/make-folder.ts'
import { UserError } from '../schemas/errors.ts'

/** As the XDG specification has it: a variable that is empty or no absolute path counts as not set. */
export function userCacheFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const base = environment['XDG_CACHE_HOME'] ?? ''
  return join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'coglabel')
}

/**
 * Makes a folder in a place that others write to as well, for this user alone. Throws UserError where somebody else made it
 * before or could change what is in it: what is kept there is trusted later.
 */
export async function makeOwnFolder(path: string): Promise<void> {
  await makeFolder(path, { mode: 0o700 })
  const found = await lstat(path)
  const isOurs = process.getuid === undefined || found.uid === process.getuid()
  if (found.isDirectory() && isOurs && (found.mode & 0o022) === 0) return
  throw new UserError(
    `${path} is not yours alone, so nothing is kept in it; remove it, or set XDG_CACHE_HOME to a folder that you can write`,
  )
}
