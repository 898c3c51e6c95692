// A task that a user defined: its spec carries the definition, so that whoever finds the run can ask it.
// Example: {name: "mood", prompt: "What mood is {{filename}} in?", answer: {kind: "choice", choices: ["calm", "tense"]}}
//   -> {value: "calm"}
import type { Constraint } from '../../schemas/constraint.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import { CustomOutput, type TaskOutput } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { parseCustom } from './custom-answer.ts'
import type { FollowedPlan, Task, TaskPlan } from './task.ts'
import { fillFromItem, fillFromTasks, type JsonValue, prevTasksOf } from './variables.ts'

/** The task of a definition. Its specs need nothing else to be asked and parsed. */
export function customTask(definition: TaskDefinition): Task {
  return {
    name: definition.name,
    version: definition.version,
    // A grounding checkpoint knows no other questions than those about places.
    ability: definition.role === 'grounding' ? 'ground' : 'qa',
    summary: 'a task of your own',
    isDefault: false,
    maxNewTokens: definition.maxNewTokens,
    ...(definition.role === undefined ? {} : { role: definition.role }),
    ...constraintOf(definition),
    outputSchema: CustomOutput,
    plan: () => [planOf(definition)],
    fill: (spec, item) => {
      const filled = fillFromItem(definition.prompt, item)
      if (!filled.ok) return filled
      return {
        ok: true,
        prompts: [{ question: filled.text }],
        inputs: filled.inputs,
        options: spec.options ?? {},
      }
    },
    ...givesText(definition),
    follow: followTasks,
    parse: (_, answers) => parseCustom(definition, answers[0] ?? ''),
  }
}

/** The task of a spec that carries a definition, or null. */
export function customTaskOf(spec: TaskSpec): Task | null {
  const definition = definitionOf(spec)
  return definition === null ? null : customTask(definition)
}

export function definitionOf({ options }: TaskSpec): TaskDefinition | null {
  if (options === undefined || !Object.hasOwn(options, 'definition')) return null
  return TaskDefinition.parse(options['definition'])
}

function planOf(definition: TaskDefinition): TaskPlan {
  const [after, ...besides] = new Set(prevTasksOf(definition.prompt))
  return {
    prompts: [{ question: definition.prompt }],
    // Through JSON: what a file says is plain data, and so is a spec.
    options: { definition: JSON.parse(JSON.stringify(definition)) as JsonValue },
    ...(after === undefined ? {} : { after }),
    ...(besides.length === 0 ? {} : { besides }),
    ...(definition.samples === undefined ? {} : { samples: definition.samples }),
  }
}

function constraintOf({ answer, boxes }: TaskDefinition): { constraint?: Constraint } {
  switch (answer.kind) {
    case 'choice':
      return { constraint: { kind: 'choices', choices: answer.choices } }
    case 'json':
      return { constraint: { kind: 'json', schema: answer.schema } }
    case 'yes-no':
    case 'number':
      return { constraint: { kind: answer.kind } }
    case 'text':
      return boxes === 'never' ? {} : { constraint: { kind: 'boxes', text: 'around' } }
    default:
      return answer satisfies never
  }
}

/** Whether other tasks find phrases in its answers: in words, and in lists of words. */
function givesText({ answer }: TaskDefinition): { givesText?: true } {
  const isList = answer.kind === 'json' && answer.schema['type'] === 'array'
  return answer.kind === 'text' || answer.kind === 'choice' || isList ? { givesText: true } : {}
}

function followTasks(spec: TaskSpec, upstream: Readonly<Record<string, TaskOutput>>): FollowedPlan {
  const question = spec.prompts[0]?.question ?? ''
  const filled = fillFromTasks(question, upstream)
  if (!filled.ok) return filled
  return { ok: true, plan: { prompts: [{ question: filled.text }], options: spec.options ?? {} } }
}
