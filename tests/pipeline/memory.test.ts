// A long run keeps nothing but the ids of its records: the live heap is flat.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { IdIndex } from '../../dataset/id-index.ts'
import type { ImageSource } from '../../dataset/ingest.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { labelSource } from '../../gpu-worker/pipeline/run.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

setFlagsFromString('--expose-gc')
// The flag puts `gc` into contexts made after it.
const collectGarbage = runInNewContext('gc') as () => void

/** Images that are made when they are read. */
function numberedSource(count: number): ImageSource {
  const bytesOf = (key: string) => new Uint8Array(numberedPng(Number.parseInt(key, 10)))
  return {
    source: { kind: 'folder', uri: 'memory://numbered/' },
    store: {
      ...openMemoryStore('numbered'),
      getWithin: async (key) => ({ key, sizeBytes: bytesOf(key).length, bytes: bytesOf(key) }),
    },
    scan: async () => ({ images: count, skipped: {} }),
    async *items() {
      for (let n = 0; n < count; n += 1) yield { key: `${n}.png` }
    },
  }
}

test('keeps the live heap flat from the first thousand images to the fifth', async () => {
  const engine = openCountingEngine()
  const { model, template, capabilities } = engine.info
  const store = openFsStore(await tempFolder())
  const source = numberedSource(5000)
  const tasks = planTasks({
    names: undefined,
    questions: [],
    phrases: [],
    model: { name: model.name, template, capabilities },
  })
  const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 }
  const clock = () => new Date(0)
  const config = await openRun(store, {
    wanted: { source: source.source, model, template, tasks, sampling },
    now: clock(),
  })
  const never = new AbortController().signal
  const liveMb: number[] = []
  let seen = 0
  const onEvent = (event: { kind: string }) => {
    seen += event.kind === 'image' ? 1 : 0
    if (event.kind !== 'image' || seen % 1000 !== 0) return
    collectGarbage()
    liveMb.push(process.memoryUsage().heapUsed / 1e6)
  }
  await labelSource({
    config,
    engine,
    source,
    store,
    done: new IdIndex(),
    clock,
    drain: never,
    stop: never,
    onEvent,
  })
  expect(liveMb).toHaveLength(5)
  expect((liveMb[4] ?? Infinity) - (liveMb[0] ?? 0)).toBeLessThan(8)
})
