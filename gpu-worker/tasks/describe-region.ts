// describe-region: what is inside boxes, those of an earlier task or given with --box.
// Example: "What is at [[041,322,300,610]]?" "A dog." -> {regions: [{box: [0.041, 0.322, 0.3, 0.61], text: "A dog."}]}
import { z } from 'zod'
import { Box, RegionsOutput, type TaskOutput } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { removeBoxes, writeBox } from './boxes.ts'
import { boxesOf } from './text-of.ts'
import { emptyAnswer, type FollowedPlan, followsOne, type ParsedAnswer, type Task } from './task.ts'

const questions = {
  chat: (box: string) => `What is at ${box}?`,
  vqa: (box: string) => `What is at ${box}?`,
  base: (box: string) => `What is inside ${box}?`,
} as const

const maxRegions = 16

const Options = z.strictObject({ boxes: z.array(Box).optional() })

export const describeRegionTask: Task = {
  name: 'describe-region',
  version: 1,
  ability: 'ground',
  summary: 'what is inside boxes: those of --box x0,y0,x1,y1, or those of grounded-caption',
  takes: 'regions',
  needs: 'boxes; add --box 0.1,0.2,0.5,0.6 or the task grounded-caption',
  role: 'grounding',
  followsByDefault: ['grounded-caption', 'ground'],
  isDefault: false,
  maxNewTokens: 64,
  outputSchema: RegionsOutput,
  plan({ template, regions, from }) {
    if (regions.length > 0) return [planRegions(regions, template)]
    return from.map((after) => ({
      prompts: [{ question: questions[template]('a box') }],
      options: {},
      after,
    }))
  },
  follow: followsOne(followBoxes),
  parse: parseRegions,
}

function planRegions(boxes: readonly Box[], template: keyof typeof questions) {
  return {
    prompts: boxes.map((box) => ({ question: questions[template](writeBox(box)) })),
    options: { boxes: [...boxes] },
  }
}

function followBoxes(spec: TaskSpec, upstream: TaskOutput): FollowedPlan {
  return { ok: true, plan: planRegions(boxesOf(upstream).slice(0, maxRegions), spec.template) }
}

function parseRegions(spec: TaskSpec, answers: readonly string[]): ParsedAnswer {
  const { boxes = [] } = Options.parse(spec.options ?? {})
  const regions: RegionsOutput['regions'] = []
  const repairs: string[] = []
  for (const [index, box] of boxes.entries()) {
    const said = removeBoxes(answers[index] ?? '')
    repairs.push(...said.repairs)
    if (said.text === '') return emptyAnswer(spec.prompts[index]?.question ?? '')
    regions.push({ box, text: said.text })
  }
  return { ok: true, output: { regions }, repairs }
}
