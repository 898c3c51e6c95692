// The picture of the stacks: it is drawn from the templates, and what is written down is what they say now.
import { expect, test } from 'vitest'
import { drawStacks } from '../../infra/picture.ts'
import { renewReadme } from '../../infra/write-readme.ts'
import { readRepositoryFile } from '../architecture/source-tree.ts'
import { deployments, synthesize } from './synthesized.ts'

test('the readme shows the stacks and settings as they are; write it anew with infra/write-readme.ts', () => {
  const text = readRepositoryFile('infra/README.md')
  expect(renewReadme(text)).toBe(text)
  const settings = text.split('\n').filter((line) => /^\| `[a-z]/.test(line) && !line.includes('.ts'))
  expect(settings.length).toBeGreaterThan(30)
  for (const line of settings) expect(line).toMatch(/^\| `[^`]+` \| .*\w.* \| /)
})

test('everything that was deployed for a second fleet is in its picture, with who may reach it', () => {
  const { templates } = synthesize(deployments['two fleets, sources, reviews and a NAT gateway']!)
  const picture = drawStacks(templates)
  for (const name of ['coglabel-boxes', 'coglabel-boxes-dead-letters', 'coglabel-boxes-spot', 'my-labels'])
    expect(picture).toContain(`"${name}"`)
  const edges = picture.split('\n').filter((line) => / -->|\.->|==>/.test(line))
  const between = (from: RegExp, to: RegExp) =>
    edges
      .filter((edge) => new RegExp(`^  ${from.source}.* ${to.source}\\S*$`).test(edge))
      .map((edge) => edge.split(' ').slice(3, -1).join(' '))
  expect(between(/ChatSpotService/, /ChatQueue/)).toEqual(['<-- takes, sends -->'])
  expect(between(/ChatSpotService/, /BoxesQueue/)).toEqual(['-- sends -->'])
  // What asks a chat task about boxes goes back.
  expect(between(/BoxesSpotService/, /ChatQueue/)).toEqual(['-- sends -->'])
  expect(between(/Images/, /ChatQueue/)).toEqual(['-- arrivals -->'])
  expect(between(/Images/, /BoxesQueue/)).toEqual([])
  expect(between(/Images/, /Sealer/)).toEqual([])
  expect(between(/Images/, /Reviewer/)).toEqual([])
  expect(between(/Reviewer/, /Labels/)).toEqual(['<-- creates, reads -->'])
  expect(between(/BoxesScaler/, /BoxesOnDemandService/)).toEqual(['== how many ==>'])
  expect(between(/BoxesScaler/, /ChatSpotService/)).toEqual([])
})
