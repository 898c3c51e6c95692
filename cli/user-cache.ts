// Where this user keeps what can be made again. It does not know what that is.
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

/** As the XDG specification has it: a variable that is empty or no absolute path counts as not set. */
export function userCacheFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const base = environment['XDG_CACHE_HOME'] ?? ''
  return join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'coglabel')
}
