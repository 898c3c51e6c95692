// What each task asks, rendered as each template renders it, against a file: a wording that changes needs a new version
// of its task, or old labels are taken for new ones.
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { planTasks, tasks } from '../../gpu-worker/tasks/registry.ts'
import { renderPrompt } from '../../gpu-worker/tokenizer/template.ts'
import { PromptTemplate } from '../../schemas/model-manifest.ts'

const goldenFile = new URL('../golden/data/task-prompts.json', import.meta.url)

function renderAll(): Record<string, string[]> {
  const capabilities = tasks.flatMap(({ name, ability = name }) => [name, ability])
  const rendered: Record<string, string[]> = {}
  for (const template of PromptTemplate.options) {
    for (const { name } of tasks) {
      const specs = planTasks({
        names: [name],
        questions: name === 'qa' ? ['Is it day?'] : [],
        phrases: ['the red dog'],
        objects: ['dog', 'orange'],
        regions: [[0.1, 0.25, 0.5, 1]],
        model: { name: 'm', template, capabilities },
      }).filter((spec) => spec.task === name)
      rendered[`${template} ${name} v${specs[0]?.taskVersion}`] = specs.flatMap(({ prompts }) =>
        prompts.map(({ question }) => renderPrompt({ template, history: [], question })),
      )
    }
  }
  return rendered
}

test('every task asks in every template what it asked before', () => {
  // WRITE_PROMPTS=1 writes the file anew, for a task whose version was raised.
  if (process.env['WRITE_PROMPTS'] === '1')
    writeFileSync(goldenFile, `${JSON.stringify(renderAll(), null, 1)}\n`)
  expect(renderAll()).toEqual(JSON.parse(readFileSync(goldenFile, 'utf8')))
})
