// One image through the life of an image, with the counting engine, in memory.
import { parseChecks } from '../../dataset/checks/registry.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { PromptRequest } from '../../gpu-worker/engine/contract.ts'
import { defaultDecodeLimits } from '../../gpu-worker/image/decode.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'
import { openRunTexts } from '../../gpu-worker/pipeline/gates.ts'
import { hashSpecs } from '../../gpu-worker/pipeline/item-specs.ts'
import { labelImage } from '../../gpu-worker/pipeline/label-image.ts'
import { planTasks, type Wanted } from '../../gpu-worker/tasks/registry.ts'
import { RunConfig } from '../../schemas/run-config.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { openCountingEngine } from './counting-engine.ts'
import { numberedPng } from './images.ts'

type Asked = Partial<Wanted> & {
  answer: (request: PromptRequest) => string
  checks?: string
  samples?: TaskSpec['samples']
  /** What stands beside the image. */
  files?: Record<string, string>
}

/** The records of `a.png`; its caption is asked for unless told otherwise. */
export async function labelOne({ answer, checks = 'default', samples, files = {}, ...wanted }: Asked) {
  const engine = openCountingEngine({ answer })
  const { model, template, capabilities } = engine.info
  const tasks = planTasks({
    names: ['caption'],
    questions: [],
    phrases: [],
    model: { name: model.name, template, capabilities },
    ...wanted,
  })
  const config = RunConfig.parse({
    v: 2,
    runId: 'run-gates',
    source: { kind: 'folder', uri: 'file:///images/' },
    model,
    template,
    tasks: tasks.map((spec) => (samples === undefined ? spec : { ...spec, samples })),
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 7 },
    checks: parseChecks(checks),
    createdAt: '2026-01-01T00:00:00.000Z',
  })
  const source = openMemoryStore('images')
  await source.putIfAbsent('a.png', numberedPng(1))
  for (const [key, text] of Object.entries(files)) await source.putIfAbsent(key, Buffer.from(text))
  const { records } = await labelImage(
    { key: 'a.png' },
    {
      config,
      specs: hashSpecs(config.tasks, config),
      source,
      engine,
      inEngine: async (job) => await job(),
      isDone: () => false,
      decoder: decodeHere,
      limits: defaultDecodeLimits,
      texts: openRunTexts(),
      clock: () => new Date(0),
      signal: new AbortController().signal,
    },
  )
  return { records, engine, record: records[0]! }
}
