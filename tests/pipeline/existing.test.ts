// Captions that stand beside the images: kept, added to or told to the model.
import { expect, test } from 'vitest'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { readExistingCaption } from '../../gpu-worker/pipeline/existing-captions.ts'
import { UserError } from '../../schemas/errors.ts'
import { labelOne } from '../helpers/label-one.ts'

test.each([
  [{ 'a/b.txt': ' A dog.\n' }, 'A dog.'],
  [{ 'a/b.jpg.txt': 'A dog.' }, 'A dog.'],
  [{ 'a/b.json': '{"caption": "A dog.", "other": 1}' }, 'A dog.'],
  [{ 'a/b.json': '{"captions": [{"role": "caption", "content": "A dog."}]}' }, 'A dog.'],
  [{ 'a/b.json': 'not JSON', 'a/b.jpg.json': '{"text": "A dog."}' }, 'A dog.'],
  [{ 'a/b.txt': '  ' }, undefined],
  [{ 'a/c.txt': 'A cat.' }, undefined],
])('finds in %j: %s', async (files, expected) => {
  const store = openMemoryStore()
  for (const [key, text] of Object.entries(files)) await store.putIfAbsent(key, Buffer.from(text))
  expect(await readExistingCaption(store, 'a/b.jpg')).toBe(expected)
})

test.each(['AccessDenied', 'InvalidObjectState', 'InvalidRequest', 'ExpiredToken'])(
  'takes a caption that may not be read for none, unless the whole store is shut: %s',
  async (name) => {
    const store = openMemoryStore()
    await store.putIfAbsent('a/b.jpg.txt', Buffer.from('A dog.'))
    const shut: ObjectStore = {
      ...store,
      async getWithin(key, limit) {
        if (key !== 'a/b.txt') return await store.getWithin(key, limit)
        throw new UserError(`${key}: ${name}`, { cause: Object.assign(new Error(name), { name }) })
      },
    }
    const found = readExistingCaption(shut, 'a/b.jpg')
    if (name === 'ExpiredToken') await expect(found).rejects.toThrow(UserError)
    else expect(await found).toBe('A dog.')
  },
)

test.each([
  ['keep', { output: { text: 'A dog.' }, raw: null, status: 'ok', inputs: { existing: 'A dog.' } }, 0],
  ['append', { output: { text: 'A dog. On grass.' }, raw: 'On grass.', inputs: { existing: 'A dog.' } }, 1],
  ['overwrite', { output: { text: 'On grass.' } }, 1],
] as const)('%s makes of it what it says', async (existing, expected, prompts) => {
  const { record, engine } = await labelOne({
    existing,
    answer: () => 'On grass.',
    files: { 'a.txt': 'A dog.' },
  })
  expect(record).toMatchObject(expected)
  expect(engine.counts.prompts).toBe(prompts)
  // An image that nothing is asked about is not shown to the model.
  expect(engine.counts.images).toBe(prompts)
})

test('context tells it to the model, and an image without one is asked as usual', async () => {
  const asked: string[] = []
  const answer = ({ question }: { question: string }) => {
    asked.push(question)
    return 'On grass.'
  }
  await labelOne({ existing: 'context', answer, files: { 'a.txt': 'A dog.' } })
  await labelOne({ existing: 'context', answer })
  expect(asked).toEqual(['Describe the image. It has been described as "A dog.".', 'Describe the image.'])
})
