// A user's file of tasks, in YAML or JSON: read, limited and checked. It does not know how tasks are asked.
import { readFileSync, statSync } from 'node:fs'
import { parseDocument } from 'yaml'
import { z } from 'zod'
import { findCheck } from '../dataset/checks/registry.ts'
import { patternOf } from '../schemas/constraint.ts'
import { UserError } from '../schemas/errors.ts'
import { type TaskDefinition, TaskFile } from '../schemas/task-file.ts'
import { customTask } from '../gpu-worker/tasks/custom.ts'
import { variableProblem } from '../gpu-worker/tasks/variables.ts'
import { reasonOf } from './explain-error.ts'

const maxFileBytes = 256 * 1024
/** Aliases of YAML that point to each other can grow beyond all memory ("billion laughs"). */
const maxAliases = 16

/** The tasks of a file. Throws UserError that says where it is wrong. */
export function readTaskFile(path: string): TaskDefinition[] {
  const parsed = TaskFile.safeParse(parseYaml(readText(path), path))
  if (!parsed.success) {
    const why = z.prettifyError(parsed.error).slice(0, 800)
    throw new UserError(
      `${path} is no file of tasks; schemas/json/task-file.schema.json says what one is:\n${why}`,
    )
  }
  for (const definition of parsed.data.tasks) refuseUnaskable(definition, path)
  return parsed.data.tasks
}

function readText(path: string): string {
  try {
    const { size } = statSync(path)
    if (size > maxFileBytes)
      throw new UserError(`${path} has ${size} bytes; a file of tasks has at most ${maxFileBytes}`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof UserError) throw error
    throw new UserError(`the task file ${path} cannot be read: ${reasonOf(error)}`, { cause: error })
  }
}

/** JSON is YAML too. */
function parseYaml(text: string, path: string): unknown {
  const document = parseDocument(text, { prettyErrors: true, stringKeys: true })
  const [problem] = document.errors
  if (problem !== undefined)
    throw new UserError(`${path} is neither YAML nor JSON: ${problem.message.slice(0, 400)}`, {
      cause: problem,
    })
  try {
    return document.toJS({ maxAliasCount: maxAliases })
  } catch (error) {
    throw new UserError(`${path} uses more than ${maxAliases} aliases; write them out`, { cause: error })
  }
}

function refuseUnaskable(definition: TaskDefinition, path: string): void {
  const where = `the task "${definition.name}" of ${path}`
  const problem = variableProblem(definition.prompt)
  if (problem !== null) throw new UserError(`${where}: ${problem}`)
  for (const { name } of definition.checks ?? []) findCheck(name)
  const { constraint } = customTask(definition)
  try {
    if (constraint !== undefined) patternOf(constraint)
  } catch (error) {
    throw new UserError(`${where}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}
