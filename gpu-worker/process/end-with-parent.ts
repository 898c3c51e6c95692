// What a process does that only stands in for the one that started it. It does not know what either does.

/** Of a parent that is killed the channel closes first, and a moment later it is nobody's parent any more. */
const untilOrphanedMs = 100

/**
 * Ends this process as soon as the one that started it is gone, where there is a channel between them: who kills `coglabel`
 * means the process that labels, and on an older Node that is not the one they see (cli/launch.js).
 */
export function endWithParent(): void {
  const parentId = process.ppid
  process.channel?.unref()
  process.once('disconnect', () => {
    setTimeout(() => {
      if (process.ppid !== parentId) process.kill(process.pid, 'SIGKILL')
    }, untilOrphanedMs)
  })
}
