// What the operating system's errors say, for all who touch files. Plain reading of a value; it does no work of its own.

/** The system's name for what it refused ("ENOENT"); empty for every other error. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** What a full or locked disk is called to users, whatever was being done with it. */
export const diskSentences: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the disk is read-only',
}
