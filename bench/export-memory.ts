// Memory and speed of exports by size: makes runs of 1 thousand to 1 million records in a temporary folder and exports
// each in a process of its own. `node cli/launch.js bench/export-memory.ts [--records 1000,…] [--formats llava,…] [--split] [--heap MB]`
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { exportRun } from '../dataset/exports/core/run-export.ts'
import { parseShares } from '../dataset/exports/core/split.ts'
import { findFormat } from '../dataset/exports/registry.ts'
import { writePart } from '../dataset/parts.ts'
import { openRun, readRun } from '../dataset/run-folder.ts'
import { sealRun } from '../dataset/seal.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import { LabelRecord } from '../schemas/label-record.ts'
import { memoryMb } from './engine/process-memory.ts'

/** Four records an image, as the default tasks with one question and one phrase make them. */
const outputs = [
  { text: 'A dog and two cats on a wooden table, seen from above, beside a window.' },
  {
    text: 'A dog and two cats.',
    phrases: [
      { text: 'A dog', start: 0, end: 5, boxes: [[0.1, 0.2, 0.5, 0.6]] },
      {
        text: 'two cats',
        start: 10,
        end: 18,
        boxes: [
          [0, 0, 0.25, 0.5],
          [0.5, 0.5, 0.75, 0.75],
        ],
      },
    ],
  },
  { turns: [{ question: 'Is there a dog?', answer: 'Yes.', kind: 'asked' }] },
  { phrase: 'the dog', boxes: [[0.1, 0.2, 0.5, 0.6]] },
]
const tasks = ['caption', 'grounded-caption', 'qa', 'ground']
const recordsOfPart = 10_000

function recordOf(n: number): LabelRecord {
  const key = `clip-${String(Math.floor(n / 400)).padStart(6, '0')}/${String(Math.floor(n / 4)).padStart(8, '0')}.jpg`
  const sha256 = sha256Hex(key)
  // Parsed by `makeRun` for the first record; the others differ in ids only.
  return {
    v: 1,
    recordId: sha256Hex(`record ${n}`).slice(0, 32),
    runId: 'run-bench',
    specHash: sha256Hex(`spec ${n % 4}`),
    task: tasks[n % 4] ?? '',
    taskVersion: 1,
    ordinal: 0,
    attempt: 1,
    source: {
      uri: `s3://bench/${key}`,
      key,
      sha256,
      bytes: 100_000,
      mime: 'image/jpeg',
      perceptualHash: sha256.slice(0, 16),
    },
    image: { width: 640, height: 480, storedWidth: 640, storedHeight: 480, orientation: 1 },
    status: 'ok',
    output: outputs[n % 4] as LabelRecord['output'], // written above in the shape of the schema
    raw: 'A dog and two cats on a wooden table, seen from above, beside a window.',
    finishReason: 'stop',
    usage: { promptTokens: 12, imageTokens: 1227, outputTokens: 30 },
    model: {
      name: 'bench',
      digest: 'd'.repeat(64),
      weights: 'int8',
      licence: 'Apache-2.0',
      engine: 'none',
      engineVersion: '0',
    },
    prompt: { template: 'chat', text: 'Question: Describe the image. Answer:' },
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: n },
    checks: [],
    error: null,
    timing: { fetchMs: 1, decodeMs: 1, prefillMs: 1, generateMs: 1 },
    createdAt: new Date(Date.UTC(2026, 0, 1) + n).toISOString(),
  }
}

async function makeRun(folder: string, records: number): Promise<void> {
  const store = openFsStore(folder)
  const { runId: _, ...wanted } = {
    runId: '',
    source: { kind: 'folder' as const, uri: 's3://bench/' },
    model: { name: 'bench', digest: 'd'.repeat(64), weights: 'int8', licence: 'Apache-2.0' },
    template: 'chat' as const,
    tasks: [],
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
  }
  await openRun(store, { wanted, now: new Date() })
  LabelRecord.parse(recordOf(0))
  for (let from = 0; from < records; from += recordsOfPart) {
    const count = Math.min(recordsOfPart, records - from)
    await writePart(
      store,
      Array.from({ length: count }, (_one, index) => recordOf(from + index)),
    )
  }
  await sealRun({ store, runId: 'run-bench', clock: () => new Date() })
}

async function exportOne(
  run: string,
  { format, out, split }: { format: string; out: string; split: boolean },
): Promise<void> {
  const store = openFsStore(run)
  const config = await readRun(store)
  if (config === null) throw new Error(`${run} is no run`)
  const found = findFormat(format)
  const start = performance.now()
  const report = await exportRun({
    store,
    config,
    format: found,
    folder: out,
    ports: { readImage: async () => null },
    imageMode: 'reference',
    stripsMetadata: false,
    where: null,
    split: split
      ? { shares: parseShares('train=0.9,val=0.1'), seed: 0, groupDepth: Infinity, previous: null }
      : null,
    checks: true,
    command: '',
    version: '0',
    clock: () => new Date(),
    onProgress: () => {},
  })
  const seconds = (performance.now() - start) / 1000
  // Not maxRSS of the resource usage: across exec that keeps the peak of the parent, which made the run.
  const peakMb = Math.round(memoryMb('VmHWM'))
  const { records } = report
  console.log(
    JSON.stringify({
      format,
      split,
      records,
      seconds: Number(seconds.toFixed(1)),
      recordsPerSecond: Math.round(records / seconds),
      peakMb,
    }),
  )
}

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '1000,10000,100000,1000000' },
    formats: { type: 'string', default: 'llava,coco,csv,parquet' },
    split: { type: 'boolean', default: false },
    // Of V8's old space: what is live must fit, and what is only not yet collected does not count.
    heap: { type: 'string', default: '160' },
    run: { type: 'string' },
    out: { type: 'string' },
  },
})
if (values.run !== undefined && values.out !== undefined)
  await exportOne(values.run, { format: values.formats, out: values.out, split: values.split })
else await measureAll()

async function measureAll(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'coglabel-bench-'))
  try {
    for (const records of values.records.split(',').map(Number)) {
      const run = join(folder, `run-${records}`)
      await makeRun(run, records)
      for (const format of values.formats.split(',')) {
        const out = mkdtempSync(join(folder, 'out-'))
        const self = fileURLToPath(import.meta.url)
        const args = [
          `--max-old-space-size=${values.heap}`,
          self,
          '--run',
          run,
          '--out',
          out,
          '--formats',
          format,
          ...(values.split ? ['--split'] : []),
        ]
        const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
        console.log(stdout.trim() || stderr.trim())
        rmSync(out, { recursive: true })
      }
      rmSync(run, { recursive: true })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
