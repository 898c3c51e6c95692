// What a run asks, from flags: what images bring themselves is asked as the same words in flags are.
import { expect, test } from 'vitest'
import { readAskFlags } from '../../cli/ask-flags.ts'
import { askedRun } from '../../cli/asked-run.ts'
import { listAbilities, planItemTasks } from '../../gpu-worker/tasks/registry.ts'

const { plain, boxes } = listAbilities()
const model = { name: 'm', template: 'chat' as const, capabilities: [...plain, ...boxes] }

test.each<[string, Record<string, string>]>([
  ['nothing more', {}],
  ['a prefix for questions about places', { 'grounding-prefix': '<grounding> ' }],
  ['several answers to a prompt', { samples: '3', choose: 'majority' }],
  ['a check that needs several', { checks: 'self-consistency' }],
  ['short answers', { answers: 'short' }],
  ['answers of any form', { constrain: 'off' }],
  ['all of these', { 'grounding-prefix': '<g> ', 'samples': '2', 'answers': 'short', 'constrain': 'off' }],
])('own questions and phrases are asked like those of the flags, with %s', (_what, values) => {
  const [ask, ground] = [['Is it big?'], ['the dog']]
  const inFlags = askedRun(readAskFlags({ ...values, tasks: 'qa,ground', ask, ground }), { model })
  const brings = { questions: true, phrases: true }
  const own = askedRun(readAskFlags({ ...values, tasks: 'qa,ground' }), { model, brings })
  const config = { ...own, template: 'chat' as const }
  const specs = planItemTasks(config, { questions: ask, phrases: ground })
  const inOrder = (some: typeof specs) => some.toSorted((left, right) => left.task.localeCompare(right.task))
  expect(inOrder(specs)).toEqual(inOrder(inFlags.tasks))
  expect(inFlags).not.toHaveProperty('itemAsk')
})

test('a run that images bring nothing to says nothing of how their own would be asked', () => {
  const asked = askedRun(readAskFlags({ tasks: 'caption', samples: '3' }), { model })
  expect(asked).not.toHaveProperty('itemAsk')
  expect(asked.tasks[0]?.samples).toEqual({ count: 3, choice: 'medoid' })
})
