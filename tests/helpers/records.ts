// Label records for tests that need some but not a model.
import { LabelRecord } from '../../schemas/label-record.ts'
import type { WantedRun } from '../../dataset/run-folder.ts'
import { sha256Hex } from '../../dataset/canonical-json.ts'

type Some = {
  key: string
  task?: string
  ordinal?: number
  status?: 'ok' | 'failed' | 'filtered'
  text?: string
  createdAt?: string
  id?: string
}

/** A valid record; the same key, task and ordinal give the same recordId unless `id` says otherwise. */
export function someRecord({
  key,
  task = 'caption',
  ordinal = 0,
  status = 'ok',
  text = 'a thing',
  createdAt,
  id,
}: Some): LabelRecord {
  return LabelRecord.parse({
    v: 1,
    recordId: sha256Hex(id ?? JSON.stringify([key, task, ordinal])).slice(0, 32),
    runId: 'run-test',
    specHash: '0'.repeat(64),
    task,
    taskVersion: 1,
    ordinal,
    attempt: 1,
    source: { uri: `memory://test/${key}`, key, sha256: sha256Hex(key), bytes: 1, mime: 'image/png' },
    image: { width: 1, height: 1, storedWidth: 1, storedHeight: 1, orientation: 1 },
    status,
    output: status === 'failed' ? null : { text },
    raw: text,
    finishReason: 'stop',
    usage: { promptTokens: 1, imageTokens: 1, outputTokens: 1 },
    model: { name: 'm', digest: 'd', weights: 'w', licence: 'l', engine: 'e', engineVersion: '1' },
    prompt: { template: 'chat', text: 'q' },
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
    checks: [],
    error: status === 'failed' ? { code: 'answer-empty', message: 'nothing' } : null,
    timing: { fetchMs: 0, decodeMs: 0, prefillMs: 0, generateMs: 0 },
    createdAt: createdAt ?? '2026-01-01T00:00:00.000Z',
  })
}

/** What a run that asks one question may be opened with. */
export const someRun: WantedRun = {
  source: { kind: 'folder', uri: 'file:///images/' },
  model: { name: 'm', digest: 'd', weights: 'int8', licence: 'l' },
  template: 'chat',
  tasks: [
    {
      task: 'qa',
      taskVersion: 1,
      ordinal: 0,
      template: 'chat',
      prompts: [{ question: 'q' }],
      maxNewTokens: 8,
    },
  ],
  sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
}
