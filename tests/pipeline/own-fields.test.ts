// Images whose messages bring questions, phrases and meta of their own: what is asked, of which model, and what is kept.
import { expect, test } from 'vitest'
import { readQueueBody } from '../../dataset/events.ts'
import { reconcileRun } from '../../dataset/reconcile.ts'
import { hashSpecs, recordsOfItem } from '../../gpu-worker/pipeline/item-specs.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import type { WorkImage } from '../../schemas/work-message.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { openTestWorld } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const both = { questions: true, phrases: true }

/** By image and task: the questions that were asked. */
function asked(records: readonly LabelRecord[]): string[] {
  return records
    .map(({ source, task, ordinal, prompt, meta, inputs }) => {
      const asked = prompt.text.replaceAll(/Question: | Answer:/g, '').replaceAll('\n', ' | ')
      const questions = inputs === undefined ? asked : `of the ${Object.keys(inputs).join()}`
      return `${source.key.slice(-5, -4)} ${task} ${ordinal} ${questions}${meta === undefined ? '' : ` ${JSON.stringify(meta)}`}`
    })
    .toSorted()
}

const own = [
  {},
  { questions: ['Is it red?'], meta: { id: 1 } },
  { phrases: ['the dog', 'a cat'], meta: { id: 2, tags: ['x'] } },
  { questions: ['Is it blue?', 'Why?'], phrases: ['the sun'] },
]
const shared = (n: number, task: string, meta: object | null = null) => {
  const text = {
    caption: 'Describe the image.',
    qa: 'of the caption',
    ground: 'Where is the cow? Give its box.',
  }[task]
  return `${n} ${task} 0 ${text}${meta === null ? '' : ` ${JSON.stringify(meta)}`}`
}
const [one, two] = [own[1]!.meta!, own[2]!.meta!]
const expected = [
  shared(0, 'caption'),
  shared(0, 'ground'),
  shared(0, 'qa'),
  shared(1, 'caption', one),
  shared(1, 'ground', one),
  '1 qa 0 Is it red? {"id":1}',
  shared(2, 'caption', two),
  '2 ground 0 Where is the dog? Give its box. {"id":2,"tags":["x"]}',
  '2 ground 1 Where is a cat? Give its box. {"id":2,"tags":["x"]}',
  shared(2, 'qa', two),
  shared(3, 'caption'),
  '3 ground 0 Where is the sun? Give its box.',
  '3 qa 0 Is it blue? | Why?',
]

test('asks each image what it brings in place of what the run asks all, and keeps its meta', async () => {
  const world = await openTestWorld({ tasks: ['caption', 'qa'], phrases: ['the cow'], brings: both })
  const images = await world.upload(4)
  await world.send(images.map((image, n) => ({ ...image, ...own[n] })))
  await world.start().end()
  expect(asked(await world.sealed())).toEqual(expected)
})

test('sends what the second model is asked on with the image, and both stages make the ids of one', async () => {
  const chat = openCountingEngine()
  const grounding = openCountingEngine({ digest: '9d'.repeat(32) })
  const world = await openTestWorld({
    engine: chat,
    grounding,
    tasks: ['caption', 'qa'],
    phrases: ['the cow'],
    brings: both,
  })
  const images = await world.upload(4)
  await world.send(images.map((image, n) => ({ ...image, ...own[n] })))
  await world.start({ queueOfRole: () => world.groundingQueue }).end()
  const first = await world.sealed()
  expect(first.filter(({ task }) => task === 'ground')).toEqual([])
  await world.start({ engine: grounding, queue: world.groundingQueue }).end()
  const records = await world.sealed()
  expect(asked(records)).toEqual(expected)
  expect(new Set(records.filter(({ task }) => task === 'ground').map(({ model }) => model.digest))).toEqual(
    new Set(['9d'.repeat(32)]),
  )
  expect(await world.groundingQueue.stats()).toEqual(empty)
  // Once more, and nobody has anything to do.
  await world.send(images.map((image, n) => ({ ...image, ...own[n] })))
  const before = [chat.counts.prompts, grounding.counts.prompts]
  await world.start({ queueOfRole: () => world.groundingQueue }).end()
  expect([chat.counts.prompts, grounding.counts.prompts]).toEqual(before)
})

test('keeps own fields when a message that kills workers is split', async () => {
  const world = await openTestWorld({ tasks: ['caption', 'qa'], phrases: ['the cow'], brings: both })
  const images = await world.upload(4)
  await world.send(images.map((image, n) => ({ ...image, ...own[n] })))
  for (let receive = 0; receive < 2; receive += 1) {
    const [message] = await world.queue.receive({ max: 1, waitMs: 0, leaseMs: 1000 })
    await world.queue.release([message!.lease], 0)
  }
  const worker = world.start()
  await worker.end()
  expect(worker.of('split')).toHaveLength(1)
  expect(asked(await world.sealed())).toEqual(expected)
})

test('takes two messages with other questions about one version of an image for two', async () => {
  const world = await openTestWorld({ tasks: ['qa'], brings: { questions: true, phrases: false } })
  const [image] = await world.upload(1)
  const questions = (text: string) => ({ ...image!, questions: [text] })
  await world.send([questions('a?'), questions('b?'), questions('a?')])
  await world.start().end()
  expect(asked(await world.sealed())).toEqual(['0 qa 0 a?', '0 qa 0 b?'])
})

test('gives back what no task of the run takes, so that it is not dropped in silence', async () => {
  const world = await openTestWorld({ tasks: ['qa'], brings: { questions: true, phrases: false } })
  const [image] = await world.upload(1)
  await world.send([{ ...image!, phrases: ['the dog'] }])
  const worker = world.start()
  await worker.pass(() => worker.of('released').length > 0)
  worker.stop()
  await worker.end()
  expect(worker.of('released')[0]).toMatchObject({
    reason: 'unknown-task',
    message: 'the message brings phrases, which no task of the run takes',
  })
})

test('reconciling finds which images lack what they bring, whatever else was asked of them', async () => {
  const world = await openTestWorld({ tasks: ['caption', 'qa'], phrases: ['the cow'], brings: both })
  const images: WorkImage[] = (await world.upload(4)).map((image, n) => ({ ...image, ...own[n] }))
  const specs = hashSpecs(world.config.tasks, world.config)
  const reconcile = async (windowRecords: number) => {
    const sent: WorkImage[] = []
    await reconcileRun({
      config: world.config,
      wantedOf: (image) => recordsOfItem(image, { config: world.config, specs }),
      shards: [
        {
          name: 'list-00000',
          async *images(after) {
            for (const [n, image] of images.entries())
              if (n + 1 > Number(after ?? 0)) yield { image, cursor: String(n + 1) }
          },
        },
      ],
      store: world.store,
      queue: {
        async send(bodies) {
          for (const body of bodies) {
            const event = readQueueBody(body)
            if (event.kind === 'work') sent.push(...event.items.map(({ runId: _run, ...image }) => image))
          }
          return bodies.map(() => true)
        },
      },
      clock: () => new Date(0),
      windowRecords,
    })
    return sent
  }
  // The first as it should be; the second and third without what they bring, as an event would ask for them.
  await world.send([images[0]!, ...(await world.upload(3)).slice(1)])
  await world.start().end()
  await world.sealed()
  for (const windowRecords of [1, 5, 1000]) expect(await reconcile(windowRecords)).toEqual(images.slice(1))
  await world.send(images.slice(1))
  await world.start().end()
  await world.sealed()
  for (const windowRecords of [1, 5, 1000]) expect(await reconcile(windowRecords)).toEqual([])
})
