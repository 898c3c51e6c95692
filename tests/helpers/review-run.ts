// A run folder to review: the sample images with labels of every shape and state, look-alikes, and hostile texts.
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { writePart } from '../../dataset/parts.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import { someRecord, someRun } from './records.ts'
import { tempFolder } from './temp-folder.ts'

export type ReviewImage = {
  key: string
  /** One of tests/helpers/images; null for an image that is not there. */
  sample: string | null
  perceptualHash?: string
  said: {
    task: string
    output: TaskOutput | null
    status?: LabelRecord['status']
    checks?: LabelRecord['checks']
    question?: string
    ordinal?: number
  }[]
}

const samples = fileURLToPath(new URL('images/', import.meta.url))

/** Every state a record may be in, on images that are there. */
export const reviewImages: readonly ReviewImage[] = [
  {
    key: 'farm/rabbit-turtle.png',
    sample: 'rabbit-turtle.png',
    perceptualHash: '0c1c1c1808040606',
    said: [
      { task: 'caption', output: { text: 'A rabbit sits below a turtle on a pink field.' } },
      {
        task: 'grounded-caption',
        output: {
          text: 'A rabbit and a turtle.',
          phrases: [
            { text: 'A rabbit', start: 0, end: 8, boxes: [[0.38, 0.485, 0.756, 0.962]] },
            { text: 'a turtle', start: 13, end: 21, boxes: [[0.455, 0.105, 0.894, 0.455]] },
          ],
        },
        checks: [
          { name: 'region-cycle', pass: true, score: 0.91, evidence: 'asked for "a rabbit" again: IoU 0.91' },
          {
            name: 'yes-no',
            pass: false,
            score: 0.4,
            evidence: '"Is there a turtle?" was answered No twice of five',
          },
        ],
      },
      {
        task: 'qa',
        output: {
          turns: [
            { question: 'How many animals are there?', answer: 'Two.', kind: 'asked' },
            { question: 'What is at the top?', answer: 'A turtle.', kind: 'asked' },
          ],
        },
      },
    ],
  },
  {
    key: 'farm/rabbit-turtle-copy.png',
    sample: 'rabbit-turtle.png',
    perceptualHash: '0c1c1c1808040607',
    said: [{ task: 'caption', output: { text: 'A turtle above a rabbit.' } }],
  },
  {
    key: 'owl.png',
    sample: 'owl.png',
    perceptualHash: 'ffffffff00000000',
    said: [
      {
        task: 'caption',
        output: { text: 'An owl on a green ground, an owl, an owl, an owl.' },
        status: 'filtered',
        checks: [
          { name: 'repetition', pass: false, score: 0.12, evidence: '"an owl" stands four times in a row' },
        ],
      },
      { task: 'grounded-caption', output: null, status: 'failed' },
      { task: 'ground', output: { phrase: 'the owl', boxes: [[0.1, 0.1, 0.4, 0.5]] } },
    ],
  },
  {
    key: 'phone/rabbit-butterfly.jpg',
    sample: 'rabbit-butterfly.jpg',
    perceptualHash: '00ff00ff00ff00ff',
    said: [{ task: 'caption', output: { text: 'A rabbit and a butterfly; the file lies on its side.' } }],
  },
  {
    key: 'gone.png',
    sample: null,
    said: [{ task: 'caption', output: { text: 'A picture that was moved away.' } }],
  },
]

export function reviewRecordId(key: string, task: string, ordinal = 0): string {
  return sha256Hex(JSON.stringify(ordinal === 0 ? [key, task] : [key, task, ordinal])).slice(0, 32)
}

/** Writes the images and the sealed run. The run is at `folder`/run. */
export async function makeReviewRun(
  images: readonly ReviewImage[] = reviewImages,
  { place = null, tasks = someRun.tasks }: { place?: string | null; tasks?: RunConfig['tasks'] } = {},
): Promise<{ folder: string; run: string; store: ObjectStore }> {
  const folder = place ?? (await tempFolder())
  const run = join(folder, 'run')
  const store = openFsStore(run)
  const { runId } = await openRun(store, {
    wanted: { ...someRun, tasks },
    now: new Date('2026-01-01T00:00:00Z'),
  })
  const records: LabelRecord[] = []
  for (const [index, image] of images.entries())
    records.push(...(await recordsOf(image, { folder, index, runId })))
  await writePart(store, records)
  await sealRun({ store, runId, clock: () => new Date('2026-01-01T00:00:00Z') })
  return { folder, run, store }
}

async function recordsOf(
  { key, sample, perceptualHash, said }: ReviewImage,
  { folder, index, runId }: { folder: string; index: number; runId: string },
): Promise<LabelRecord[]> {
  // The key is hostile at times, the name on disk never is.
  const path = join(folder, `image-${index}`)
  const bytes = sample === null ? Buffer.from('gone') : await readFile(join(samples, sample))
  if (sample !== null) await copyFile(join(samples, sample), path)
  const decoded = sample === null ? null : await decodeImage(bytes)
  const image = decoded?.ok === true ? decoded.image : null
  return said.map(({ task, output, status = 'ok', checks = [], question = 'q', ordinal = 0 }) => {
    const record = someRecord({ key, task, ordinal, status: output === null ? 'failed' : status })
    return LabelRecord.parse({
      ...record,
      runId,
      recordId: reviewRecordId(key, task, ordinal),
      source: {
        uri: pathToFileURL(path).href,
        key,
        sha256: sha256Hex(bytes),
        bytes: bytes.length,
        mime: image?.mime ?? 'image/png',
        ...(perceptualHash === undefined ? {} : { perceptualHash }),
      },
      image: {
        width: image?.width ?? 64,
        height: image?.height ?? 48,
        storedWidth: image?.storedWidth ?? 64,
        storedHeight: image?.storedHeight ?? 48,
        orientation: image?.orientation ?? 1,
      },
      output,
      prompt: { template: 'chat', text: question },
      raw: output === null ? 'a [[1,2]' : JSON.stringify(output).slice(0, 200),
      checks,
    })
  })
}

/** Changes an image on disk after it was labelled. */
export async function spoilImage(folder: string, index: number): Promise<void> {
  await writeFile(join(folder, `image-${index}`), 'other bytes')
}
