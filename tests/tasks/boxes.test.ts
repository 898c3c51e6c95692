// Boxes in text: what is read, what is mended and told, what is left alone.
import { expect, test } from 'vitest'
import { findBoxes, removeBoxes } from '../../gpu-worker/tasks/boxes.ts'

const cases: [text: string, boxes: number[][], repairs: number][] = [
  ['[[123,456,789,999]]', [[0.123, 0.456, 0.789, 0.999]], 0],
  ['[[000,000,999,999]]', [[0, 0, 0.999, 0.999]], 0],
  [
    '[[001,002,003,004;500,600,700,800]]',
    [
      [0.001, 0.002, 0.003, 0.004],
      [0.5, 0.6, 0.7, 0.8],
    ],
    0,
  ],
  [
    '[[1,2,3,4]] and [[5,6,7,8]]',
    [
      [0.001, 0.002, 0.003, 0.004],
      [0.005, 0.006, 0.007, 0.008],
    ],
    0,
  ],
  ['[[ 123 , 456 , 789 , 999 ]]', [[0.123, 0.456, 0.789, 0.999]], 0],
  ['[[123 456 789 999]]', [[0.123, 0.456, 0.789, 0.999]], 0],
  [
    '[[1,2,3,4],[5,6,7,8]]',
    [
      [0.001, 0.002, 0.003, 0.004],
      [0.005, 0.006, 0.007, 0.008],
    ],
    0,
  ],
  ['[[1,2,3,4] ]', [[0.001, 0.002, 0.003, 0.004]], 0],
  ['[[1.5,2,3,4]]', [[0.0015, 0.002, 0.003, 0.004]], 0],
  ['[[1,2,3,4;]]', [[0.001, 0.002, 0.003, 0.004]], 0],
  ['[[[1,2,3,4]]]', [[0.001, 0.002, 0.003, 0.004]], 0],
  ['[[1,2,3,4]', [[0.001, 0.002, 0.003, 0.004]], 1],
  ['[[789,999,123,456]]', [[0.123, 0.456, 0.789, 0.999]], 1],
  ['[[-5,10,1200,999]]', [[0, 0.01, 1, 0.999]], 1],
  ['[[5,5,5,9]]', [], 1],
  ['[[1,2]]', [], 1],
  ['[[1,2,3,4,5]]', [], 1],
  ['[[1,2,3,4;5,6]]', [[0.001, 0.002, 0.003, 0.004]], 1],
  ['[[1..2,3,4,5]]', [], 1],
  ['[[]]', [], 1],
  ['[[123,456', [], 1],
  ['[[', [], 1],
  ['[[see note]]', [], 0],
  ['[1,2,3,4]', [], 0],
  ['[[x [[1,2,3,4]]', [[0.001, 0.002, 0.003, 0.004]], 0],
  ['no boxes', [], 0],
]

test.each(cases)('reads %s', (text, boxes, repairs) => {
  const found = findBoxes(text)
  expect(found.groups.flatMap((group) => group.boxes)).toEqual(boxes)
  expect(found.repairs).toHaveLength(repairs)
})

test('tells where each group stands', () => {
  const text = 'A dog [[1,2,3,4]] and [[5,6,7,8] ].'
  expect(findBoxes(text).groups.map(({ start, end }) => text.slice(start, end))).toEqual([
    '[[1,2,3,4]]',
    '[[5,6,7,8] ]',
  ])
})

test('takes boxes out of text and closes the gap', () => {
  expect(removeBoxes('A dog [[1,2,3,4]] and a cat[[1,2,3,4]]ran [[1,2,3,4]].').text).toBe(
    'A dog and a cat ran.',
  )
})

test('stays linear on hostile brackets', () => {
  const before = process.threadCpuUsage()
  for (const text of [
    '['.repeat(200_000),
    '[[1,'.repeat(100_000),
    '[[1,2,3,4],'.repeat(50_000),
    `[[${'1'.repeat(300_000)}x`,
  ])
    findBoxes(text)
  const { user, system } = process.threadCpuUsage(before)
  expect(user + system, 'microseconds; squared, they would be minutes').toBeLessThan(3_000_000)
})

test('never throws and never gives a box outside the image, over random text', () => {
  const alphabet = [
    '[',
    ']',
    '[[',
    ']]',
    ',',
    ';',
    ' ',
    '-',
    '.',
    '0',
    '7',
    '999',
    '12',
    'a',
    '\n',
    '1,2,3,4',
  ]
  let seed = 7
  const random = (count: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % count
  for (let n = 0; n < 20_000; n += 1) {
    const text = Array.from({ length: random(20) }, () => alphabet[random(alphabet.length)]).join('')
    for (const { start, end, boxes } of findBoxes(text).groups) {
      expect(text.slice(start, start + 2)).toBe('[[')
      expect(end).toBeGreaterThan(start)
      for (const [x0, y0, x1, y1] of boxes)
        expect(0 <= x0 && x0 < x1 && x1 <= 1 && 0 <= y0 && y0 < y1 && y1 <= 1, text).toBe(true)
    }
  }
})
