// A folder that stands for a cloud: a run, a bucket with images, and a queue that asks for them.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeWorkMessages } from '../../dataset/events.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { openCountingEngine } from './counting-engine.ts'
import { numberedPng } from './images.ts'
import { tempFolder } from './temp-folder.ts'

type Wanted = { imageCount: number; keyOf?: (n: number) => string; perMessage?: number }

export async function openWorkerCloud({ imageCount, keyOf = (n) => `in/${n}.png`, perMessage = 25 }: Wanted) {
  const folder = await tempFolder()
  const engine = openCountingEngine()
  const { model, template, capabilities } = engine.info
  const wanted = {
    source: { kind: 'folder' as const, uri: 'file:///photos/' },
    model,
    template,
    tasks: planTasks({
      names: ['caption'],
      questions: [],
      phrases: [],
      model: { name: model.name, template, capabilities },
    }),
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 },
  }
  const now = new Date('2026-01-01T00:00:00Z')
  const { runId } = await openRun(openFsStore(join(folder, 'plan')), { wanted, now })
  const store = openFsStore(join(folder, 'labels', 'runs', runId))
  await openRun(store, { wanted, now })
  const images = Array.from({ length: imageCount }, (_, n) => ({ bucket: 'photos', key: keyOf(n) }))
  for (const [n, { key }] of images.entries()) {
    const path = join(folder, 'buckets', 'photos', key)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, numberedPng(n))
  }
  const queue = openFolderQueue(join(folder, 'queue'))
  for (let at = 0; at < images.length; at += perMessage)
    for (const body of writeWorkMessages(images.slice(at, at + perMessage), { runId }))
      await queue.send([body])
  const environment = {
    COGLABEL_BACKEND: 'folder',
    COGLABEL_FOLDER: folder,
    COGLABEL_MODEL: 'model',
    COGLABEL_MODE: 'drain',
    COGLABEL_IDLE_EXIT_SECONDS: '0.3',
    COGLABEL_READY_FILE: join(folder, 'ready'),
  }
  return { folder, engine, store, queue, runId, environment, images }
}
