// A process that drains a folder queue: for every message one file, then the ack. Tests kill it.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openFolderQueue } from '../../dataset/queues/folder.ts'

const folder = process.argv[2] ?? ''
const queue = openFolderQueue(join(folder, 'queue'))
// Idle for longer than a lease means that nothing is left, not even with a process that was killed.
for (let idleSince = Date.now(); Date.now() - idleSince < 3000;) {
  const messages = await queue.receive({ max: 4, waitMs: 500, leaseMs: 2000 })
  if (messages.length > 0) idleSince = Date.now()
  for (const { body } of messages) {
    await writeFile(join(folder, 'done', body), '')
    await sleep(2)
  }
  await queue.ack(messages.map(({ lease }) => lease))
}
