// Prompts against those the reference built, and their ids.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { renderPrompt } from '../../gpu-worker/tokenizer/template.ts'
import { openTokenizer } from '../../gpu-worker/tokenizer/tokenizer.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'

type Row = {
  template: PromptTemplate
  query: string
  history: [string, string][]
  prompt: string
  text_ids: number[]
}
const data = new URL('../golden/data/', import.meta.url).pathname

const tokenizers = {
  'v1-tiny-s0': 'v1-320',
  'v1-tiny-s1': 'v1-320',
  'v2-tiny-s0': 'v2-320',
  'v2-tiny-s1': 'v2-320',
}

describe.each(Object.entries(tokenizers))('prompts of %s', (config, name) => {
  it('are the reference prompts, and so are their ids', async () => {
    const golden: { cases: { rows: Row[] }[] } = JSON.parse(
      await readFile(join(data, config, 'golden-f32.json'), 'utf8'),
    )
    const kind = name.startsWith('v1') ? 'sentencepiece' : 'tokenizer-json'
    const tokenizer = await openTokenizer({ folder: join(data, 'tokenizers', name), kind })
    const rows = golden.cases.flatMap((one) => one.rows)
    expect(rows.length).toBeGreaterThan(4)
    for (const row of rows) {
      const history = row.history.map(([question, answer]) => ({ question, answer }))
      const prompt = renderPrompt({ template: row.template, history, question: row.query })
      expect(prompt).toBe(row.prompt)
      expect(tokenizer.encode(prompt)).toEqual(row.text_ids)
    }
  })
})

it('gives the vqa form to past turns too', () => {
  const history = [{ question: 'a', answer: 'b' }]
  expect(renderPrompt({ template: 'vqa', history, question: 'c' })).toBe(
    'Question: a Short answer: b\nQuestion: c Short answer:',
  )
})

it('ignores history in the base form', () => {
  expect(renderPrompt({ template: 'base', history: [{ question: 'a', answer: 'b' }], question: '' })).toBe('')
})
