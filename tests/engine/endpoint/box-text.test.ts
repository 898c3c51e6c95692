// Boxes of other models' dialects, as tasks read them.
import { describe, expect, test } from 'vitest'
import { boxDialects, dialectOfModel } from '../../../gpu-worker/engine/endpoint/box-dialects.ts'
import {
  askForBoxes,
  type BoxesAmid,
  readAnswer,
  writeQuestion,
} from '../../../gpu-worker/engine/endpoint/box-text.ts'

const size = { width: 560, height: 280 }
const named = (name: string) => boxDialects.find((dialect) => dialect.name === name)!
const read = (name: string, amid: BoxesAmid, answer: string) =>
  readAnswer(answer, { dialect: named(name), amid, size })

describe('the dialect of a model', () => {
  test.each([
    ['THUDM/cogvlm-grounding-generalist-hf', 'cogvlm'],
    ['Qwen/Qwen2.5-VL-7B-Instruct-AWQ', 'qwen2.5-vl'],
    ['qwen3-vl:8b', 'qwen3-vl'],
    ['Qwen/Qwen2-VL-2B-Instruct', 'qwen2-vl'],
    ['Qwen-VL-Chat', 'qwen2-vl'],
    ['OpenGVLab/InternVL3_5-8B', 'internvl'],
    ['deepseek-ai/deepseek-vl2-tiny', 'deepseek-vl2'],
    ['microsoft/kosmos-2-patch14-224', 'kosmos-2'],
    ['llava-hf/llava-1.5-7b-hf', 'fractions'],
    ['google/gemini-2.5-flash', 'gemini'],
    ['gpt-4o', null],
  ])('of %s is %s', (model, name) => {
    expect(dialectOfModel(model)?.name ?? null).toBe(name)
  })
})

describe('an answer in a dialect', () => {
  test.each<[string, BoxesAmid, string, string]>([
    ['cogvlm', 'absence', '[[112,308,471,902]]', '[[112,308,471,902]]'],
    ['cogvlm', 'around', 'A dog [[1,2,3,4;5,6,7,8]] and a cat.', 'A dog [[1,2,3,4;5,6,7,8]] and a cat.'],
    ['cogvlm', 'none', '<|begin_of_box|>[[1,2,3,4]]<|end_of_box|>', '[[1,2,3,4]]'],
    [
      'qwen2.5-vl',
      'absence',
      '```json\n[{"bbox_2d": [56, 28, 280, 140], "label": "dog"}]\n```',
      '[[100,100,500,500]]',
    ],
    [
      'qwen2.5-vl',
      'absence',
      '[{"bbox_2d": [56,28,280,140]}, {"bbox_2d": [0,0,560,280]}]',
      '[[100,100,500,500;0,0,1000,1000]]',
    ],
    ['qwen2.5-vl', 'absence', '[]', 'None.'],
    ['qwen2.5-vl', 'absence', 'There is no dog.', 'There is no dog.'],
    ['qwen2.5-vl', 'absence', '[{"bbox_2d": [1, 1, 561, 281]}]', '[[1.79,3.57,1001.79,1003.57]]'],
    ['qwen3-vl', 'none', '{"bbox_2d": [100, 200, 300, 400]}', '[[100,200,300,400]]'],
    ['gemini', 'absence', '[{"box_2d": [200, 100, 400, 300], "label": "dog"}]', '[[100,200,300,400]]'],
    [
      'qwen2-vl',
      'around',
      'A <|object_ref_start|>dog<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>.',
      'A dog[[10,20,30,40]].',
    ],
    [
      'qwen2-vl',
      'around',
      'A dog(10,20),(30,40)(50,60),(70,80) runs',
      'A dog[[10,20,30,40;50,60,70,80]] runs',
    ],
    [
      'internvl',
      'around',
      'A <ref>dog</ref><box>[[10, 20, 30, 40], [1, 2, 3, 4]]</box> runs',
      'A dog[[10,20,30,40;1,2,3,4]] runs',
    ],
    ['deepseek-vl2', 'none', '<|ref|>dog<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>', 'dog[[0,0,1000,1000]]'],
    [
      'kosmos-2',
      'around',
      '<grounding><phrase>A dog</phrase><object><patch_index_0000><patch_index_1023></object>',
      'A dog[[0,0,1000,1000]]',
    ],
    ['fractions', 'around', 'A dog [0.1, 0.25, 0.5, 1] runs.', 'A dog [[100,250,500,1000]] runs.'],
  ])('of %s, boxes %s: %j', (name, amid, ...[answer, text]) => {
    expect(read(name, amid, answer)).toEqual({ text, repairs: [] })
  })

  test('ties boxes of JSON to the words of its caption, and tells which it cannot', () => {
    const answer = JSON.stringify({
      caption: 'A dog chases another dog past a Tree.',
      objects: [
        { label: 'dog', bbox_2d: [0, 0, 280, 280] },
        { label: 'tree', bbox_2d: [280, 0, 560, 280] },
        { label: 'dog', bbox_2d: [0, 140, 560, 280] },
        { label: 'cat', bbox_2d: [0, 0, 1, 1] },
        { label: 'a dog' },
      ],
    })
    expect(read('qwen2.5-vl', 'around', `\`\`\`json\n${answer}\n\`\`\``)).toEqual({
      text: 'A dog [[0,0,500,1000]] chases another dog [[0,500,1000,1000]] past a Tree [[500,0,1000,1000]].',
      repairs: [
        'left out the box of "cat", which the caption does not name',
        'left out "a dog", which has no box',
      ],
    })
  })

  test.each([
    ['a list without a caption', '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]'],
    ['JSON that was cut off', '{"caption": "A dog.", "objects": [{"bbox_2d": [1, 2, 3, 4], "la'],
  ])('leaves %s as it is, for the task to turn down', (_, answer) => {
    expect(read('qwen2.5-vl', 'around', answer)).toEqual({ text: answer, repairs: [] })
  })

  test('leaves out a box that the answer did not finish', () => {
    expect(read('cogvlm', 'around', 'A dog [[1,2,3,4]] and a cat [[56,7')).toEqual({
      text: 'A dog [[1,2,3,4]] and a cat',
      repairs: ['left out a box that the answer did not finish'],
    })
  })

  test.each(['[', '(1,', '[[1,2,3,4;', '<box>', '{"bbox_2d":['])(
    'takes no longer than it is long, of %j over and over',
    (piece) => {
      const start = process.cpuUsage()
      for (const { name } of boxDialects) read(name, 'around', piece.repeat(5000))
      expect(process.cpuUsage(start).user / 1e6).toBeLessThan(5)
    },
  )
})

test.each([
  ['cogvlm', 'What is at [[100,200,300,400]]?'],
  ['qwen2.5-vl', 'What is at [56, 56, 168, 112]?'],
  ['qwen2-vl', 'What is at (100,200),(300,400)?'],
  ['internvl', 'What is at <box>[[100, 200, 300, 400]]</box>?'],
  ['gemini', 'What is at [200, 100, 400, 300]?'],
  ['fractions', 'What is at [0.100, 0.200, 0.300, 0.400]?'],
  ['kosmos-2', 'What is at <patch_index_0195><patch_index_0393>?'],
])('a question in the dialect %s is %j', (name, question) => {
  expect(writeQuestion('What is at [[100,200,300,400]]?', named(name), size)).toBe(question)
})

test('every dialect reads back the shape that it asks for', () => {
  for (const dialect of boxDialects) {
    for (const amid of ['none', 'absence', 'around'] as const)
      expect(askForBoxes(dialect, amid)).toContain(dialect.shape)
    const written = writeQuestion('[[100,200,300,400]]', dialect, size)
    const { text } = readAnswer(written, { dialect, amid: 'none', size })
    const sides = text.slice(2, -2).split(',').map(Number)
    const tolerance = dialect.style === 'cells' ? 32 : 1.1
    for (const [index, expected] of [100, 200, 300, 400].entries())
      expect(Math.abs((sides[index] ?? Number.NaN) - expected), dialect.name).toBeLessThan(tolerance)
  }
})
