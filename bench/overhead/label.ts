// The local loop over a folder of photos with the counting engine, ready to be measured.
import { join } from 'node:path'
import { IdIndex } from '../../dataset/id-index.ts'
import { openSource } from '../../dataset/ingest.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { labelSource } from '../../gpu-worker/pipeline/run.ts'
import { openCountingEngine } from '../../tests/helpers/counting-engine.ts'
import { photoKeys, writePhotos } from './images.ts'
import { type At, beginRun, type Prepared, type Wanted } from './run.ts'

export async function prepareLabel({ images, tasks }: Wanted, { folder, decoder }: At): Promise<Prepared> {
  await writePhotos(join(folder, 'photos'), photoKeys(images, ''))
  const [out, engine] = [join(folder, 'out'), openCountingEngine()]
  const store = openFsStore(out)
  const source = await openSource(join(folder, 'photos'), { exclude: out })
  const config = await beginRun(store, { source: source.source, tasks, engine })
  const [never, done] = [new AbortController().signal, new IdIndex()]
  return {
    async run() {
      let records = 0
      const onEvent = (event: { kind: string; records?: number }) => {
        if (event.kind === 'part') records += event.records ?? 0
      }
      const clock = () => new Date()
      await labelSource({
        config,
        engine,
        decoder,
        source,
        store,
        done,
        clock,
        drain: never,
        stop: never,
        onEvent,
      })
      return { records, endMs: performance.now() }
    },
    async close() {},
  }
}
