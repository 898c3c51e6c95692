// The settings of a deployment: what is refused, and what is said of it; which instances hold a model.
import { expect, test } from 'vitest'
import { incomingPrefix as listenedTo, parseConfig } from '../../infra/config.ts'
import { chooseInstances } from '../../infra/instances.ts'
import { capacityLevels, scalingSteps } from '../../infra/scaling-steps.ts'
import { incomingPrefix } from '../../dataset/events.ts'

const chat = { name: 'chat', prefixes: ['incoming/a'] }
test.each([
  ['an unknown setting', { bucket: 'a' }, /bucket/],
  ['a name that no bucket could have', { name: 'My Labels' }, /name/],
  ['images and labels in one bucket', { imagesBucket: 'b-1', labelsBucket: 'b-1' }, /need a bucket each/],
  [
    'a source that is the labels bucket',
    { labelsBucket: 'b-1', sources: [{ bucket: 'b-1' }] },
    /need a bucket each/,
  ],
  [
    'a source that is the images bucket',
    { imagesBucket: 'b-1', sources: [{ bucket: 'b-1' }] },
    /is also the imagesBucket/,
  ],
  ['a source twice', { sources: [{ bucket: 'b-1' }, { bucket: 'b-1', prefix: 'x/' }] }, /named twice/],
  [
    'a key where S3 has its own',
    {
      encryption: 's3',
      dataKeyArn: 'arn:aws:kms:us-east-2:111122223333:key/0a0a0a0a-1111-2222-3333-444444444444',
    },
    /take encryption own-key/,
  ],
  ['no fleet', { fleets: [] }, /fleets/],
  ['two fleets of one name', { fleets: [chat, { ...chat, prefixes: [] }] }, /two fleets are called chat/],
  ['a grounding fleet first', { fleets: [{ role: 'grounding' }] }, /put a chat fleet first/],
  [
    'two grounding fleets',
    { fleets: [chat, ...['x', 'y'].map((name) => ({ name, role: 'grounding', prefixes: [] }))] },
    /keep one/,
  ],
  [
    'two fleets that listen to the same prefix',
    { fleets: [chat, { name: 'boxes', role: 'grounding', prefixes: ['incoming/a'] }] },
    /notifications overlap: chat listens to incoming\/a and boxes to incoming\/a/,
  ],
  [
    'a fleet that listens to a part of what another does',
    { fleets: [{ prefixes: ['incoming/'] }, { name: 'boxes', role: 'grounding', prefixes: ['incoming/b'] }] },
    /notifications overlap/,
  ],
  [
    'one fleet whose prefixes overlap, which S3 refuses',
    { fleets: [{ prefixes: ['incoming/a', 'incoming/ab'] }] },
    /notifications overlap/,
  ],
  ['a prefix outside of what arrives', { fleets: [{ prefixes: ['photos/'] }] }, /fleets\[0\]\.prefixes/],
  [
    'subnets without their zones',
    {
      network: {
        kind: 'existing-vpc',
        vpcId: 'vpc-0a0a0a0a',
        availabilityZones: ['a'],
        subnetIds: ['subnet-0a0a0a0a', 'subnet-0b0b0b0b'],
      },
    },
    /name the zone of each subnet/,
  ],
  [
    'zones that are not as many as they say',
    { network: { kind: 'nat', zones: 3, availabilityZones: ['us-east-2a'] } },
    /make them agree/,
  ],
  ['three zones without their names', { network: { kind: 'nat', zones: 3 } }, /name more than two/],
  ['an image by tag', { image: '111122223333.dkr.ecr.us-east-2.amazonaws.com/coglabel:latest' }, /image/],
  ['days that logs cannot be kept for', { logDays: 31 }, /logDays/],
])('%s is refused with what to do', (_what, settings, message) => {
  expect(() => parseConfig(settings)).toThrow(message)
})

test('fleets listen to where uploads arrive', () => {
  expect(listenedTo).toBe(incomingPrefix)
  expect(parseConfig({}).fleets[0]).toMatchObject({ prefixes: [incomingPrefix], model: null })
})

test.each([
  ['a small model', 2e9, ['g6.xlarge', 'g5.xlarge', 'g6.2xlarge', 'g5.2xlarge', 'g6e.xlarge', 'g6e.2xlarge']],
  ['int8 of 17 billion parameters', 18e9, ['g6.2xlarge', 'g5.2xlarge', 'g6e.xlarge', 'g6e.2xlarge']],
  ['fp16 of 17 billion parameters', 35e9, ['g6e.2xlarge', 'g7e.2xlarge']],
])('%s runs on what holds it', (_what, sizeBytes, names) => {
  const chosen = chooseInstances({ sizeBytes, names: [] })
  expect(chosen.names).toEqual(names)
  expect(chosen.taskMemoryMiB).toBeGreaterThan(sizeBytes / 1024 ** 2 - 4096)
})

test.each([
  [{ sizeBytes: 200e9, names: [] }, /does not fit any instance with one GPU/],
  [{ sizeBytes: 35e9, names: ['g6.xlarge'] }, /32\.6 GiB does not fit g6\.xlarge; compile it/],
  [
    { sizeBytes: 1e9, names: ['g6f.large'] },
    /no instance type that is known to have one GPU; name some of g6/,
  ],
])('%j is refused', (wanted, message) => {
  expect(() => chooseInstances(wanted)).toThrow(message)
})

test.each([1, 4, 16, 20, 21, 64, 100, 512])('a policy for %i workers has steps for all needs', (max) => {
  const levels = capacityLevels(max)
  expect(levels.length).toBeLessThanOrEqual(20)
  expect(levels.at(-1)).toBe(max)
  const steps = scalingSteps(max)
  const asked = (need: number) =>
    steps.findLast(({ lower = -Infinity, upper = Infinity }) => need >= lower && need <= upper)?.change
  expect(asked(0)).toBe(0)
  for (let need = 1; need <= max; need += 1) {
    expect(asked(need)).toBeGreaterThanOrEqual(need)
    expect(asked(need)).toBeLessThanOrEqual(Math.ceil(need * 1.6))
  }
})
