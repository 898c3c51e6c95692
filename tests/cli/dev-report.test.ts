// What `coglabel dev` says of images that arrive, and of those that it leaves without labels.
import { expect, test } from 'vitest'
import { renderEnd, startReport } from '../../cli/dev/report.ts'
import type { Answered } from '../../emulator/emulator.ts'
import { someRecord } from '../helpers/records.ts'

const prefix = 'incoming/dev/'
const view = {
  path: '',
  images: 1,
  records: 1,
  byTask: {},
  byErrorCode: {},
  byCheck: {},
  filtered: [],
  failed: [],
}

function uploaded(key: string): Answered {
  return { service: 's3', operation: 'PutObject', name: 'images', key: prefix + key, status: 200 }
}

test('says at the end how many images have arrived and have no labels', () => {
  const report = startReport({ bucket: 'images', prefix, clock: () => new Date(0) })
  const end = () => renderEnd({ view, waiting: report.waiting(), out: '/out' })
  expect(end()).toMatch(/^labels: /)

  for (const key of ['a.png', 'b.png', 'c']) expect(report.arrived(uploaded(key))).toMatch(/arrived$/)
  expect(report.arrived(uploaded('a.txt'))).toMatch(
    /a\.txt {2}is passed over: not an image by its extension$/,
  )
  expect(end()).toMatch(/^3 images had arrived and have no labels\n/)

  report.sealed(['a.png', 'c'].map((key) => someRecord({ key: prefix + key })))
  expect(end()).toMatch(/^1 image had arrived and has no labels\n/)

  // What comes again keeps its labels.
  report.arrived(uploaded('a.png'))
  expect(report.waiting()).toBe(1)
})
