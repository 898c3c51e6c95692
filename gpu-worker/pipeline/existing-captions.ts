// Captions that people left beside their images: a.txt or a.json for a.jpg. It does not know what is done with them.
import { z } from 'zod'
import { keyProblem, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { isAboutOneObject } from './fetch.ts'

/** Longer files are no captions. */
const maxBytes = 64 * 1024
const maxChars = 8000

const Captioned = z.union([
  z.looseObject({ caption: z.string() }).transform(({ caption }) => caption),
  z.looseObject({ text: z.string() }).transform(({ text }) => text),
  z
    .looseObject({ captions: z.array(z.looseObject({ content: z.string() })).min(1) })
    .transform(({ captions }) => captions[0]?.content ?? ''),
])

/** The caption beside an image, or undefined where there is none that can be read. Throws what is wrong with the store. */
export async function readExistingCaption(store: ObjectStore, key: string): Promise<string | undefined> {
  const stem = key.replace(/\.[^./]+$/, '')
  for (const name of [`${stem}.txt`, `${key}.txt`, `${stem}.json`, `${key}.json`]) {
    if (keyProblem(name) !== null || name === key) continue
    const found = await store.getWithin(name, { maxBytes }).catch((error: unknown) => {
      if (isAboutOneObject(error)) return null
      throw error
    })
    if (found === null || found.bytes === null) continue
    const text = captionIn(Buffer.from(found.bytes).toString('utf8'), name)
    if (text !== null) return text
  }
  return undefined
}

function captionIn(content: string, name: string): string | null {
  const text = name.endsWith('.json') ? captionInJson(content) : content
  const plain = text
    ?.replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, maxChars)
  return plain === undefined || plain === '' ? null : plain
}

function captionInJson(content: string): string | undefined {
  try {
    return Captioned.safeParse(JSON.parse(content)).data
  } catch {
    // A JSON file that is not JSON holds no caption; it may belong to another tool.
    return undefined
  }
}
