// Splits: nothing leaks, nothing moves without need, and who moves is told.
import { expect, test } from 'vitest'
import { sha256Hex } from '../../../dataset/canonical-json.ts'
import {
  assignSplits,
  movedSince,
  nearBits,
  parseShares,
  type SplitImage,
  sourcePrefix,
} from '../../../dataset/exports/core/split.ts'
import { seededRandom } from '../../helpers/seeded-random.ts'

const shares = parseShares('train=0.8,val=0.1,test=0.1')
const options = { shares, seed: 1, groupDepth: 0 }

const uriOf = (key: string) => `file:///images/${key}`

/** The n-th image; the later, the younger. Hashes are far apart unless they are given. */
function image(n: number, change: Partial<SplitImage> = {}): SplitImage {
  return {
    uri: uriOf(`${n}.jpg`),
    key: `${n}.jpg`,
    sha256: sha256Hex(`image ${n}`),
    perceptualHash: sha256Hex(`look ${n}`).slice(0, 16),
    createdAt: new Date(Date.UTC(2026, 0, 1) + n * 1000).toISOString(),
    ...change,
  }
}

const many = Array.from({ length: 2000 }, (_, n) => image(n))
const splitOf = (images: readonly SplitImage[], change = {}) =>
  new Map([...assignSplits(images, { ...options, ...change })].map(([, { key, split }]) => [key, split]))

/** A hash that differs from another in so many bits. */
function flip(hash: string, bits: number): string {
  let value = BigInt(`0x${hash}`)
  for (let bit = 0; bit < bits; bit++) value ^= 1n << BigInt(bit * 15)
  return value.toString(16).padStart(16, '0')
}

test('keeps the shares of many single images, whatever their order', () => {
  const split = splitOf(many)
  const count = (name: string) => [...split.values()].filter((one) => one === name).length / many.length
  expect(count('train')).toBeCloseTo(0.8, 1)
  expect(count('val')).toBeCloseTo(0.1, 1)
  expect(splitOf(many.toReversed())).toEqual(split)
  expect(splitOf(many, { seed: 2 })).not.toEqual(split)
})

test('moves nobody when single images join', () => {
  const before = splitOf(many.slice(0, 1000))
  expect(movedSince(before, assignSplits(many, options))).toEqual([])
})

test.each([
  ['equal bytes', { sha256: image(0).sha256 }, true],
  ['equal looks', { perceptualHash: image(0).perceptualHash }, true],
  [`looks ${nearBits} bits apart`, { perceptualHash: flip(image(0).perceptualHash!, nearBits) }, true],
  [
    `looks ${nearBits + 1} bits apart`,
    { perceptualHash: flip(image(0).perceptualHash!, nearBits + 1) },
    false,
  ],
  ['no looks at all', { perceptualHash: null }, false],
])('%s: one group is %s', (_name, change, isOne) => {
  const groups = assignSplits([...many, image(5000, change)], options)
  expect(groups.get(uriOf('5000.jpg'))?.group === groups.get(uriOf('0.jpg'))?.group).toBe(isOne)
})

test('finds every near pair that comparing all pairs finds', () => {
  const random = seededRandom(7)
  const images = Array.from({ length: 300 }, (_, n) => {
    const base = sha256Hex(`look ${n % 40}`).slice(0, 16)
    const flips = Array.from({ length: Math.floor(random() * 6) }, () => BigInt(Math.floor(random() * 64)))
    const hash = flips.reduce((value, bit) => value ^ (1n << bit), BigInt(`0x${base}`))
    return image(n, { perceptualHash: hash.toString(16).padStart(16, '0') })
  })
  const groups = assignSplits(images, options)
  for (const left of images)
    for (const right of images) {
      const differ = BigInt(`0x${left.perceptualHash}`) ^ BigInt(`0x${right.perceptualHash}`)
      const bits = differ.toString(2).replaceAll('0', '').length
      if (bits <= nearBits) expect(groups.get(left.uri)?.group).toBe(groups.get(right.uri)?.group)
    }
})

test('keeps a folder together, as deep as it is told, and images without one apart', () => {
  const images = many.map((one, n) => ({ ...one, key: `set/clip-${n % 20}/${one.key}` }))
  const byClip = splitOf(images, { groupDepth: 2 })
  const clips = new Map<string, Set<string>>()
  for (const [key, split] of byClip) {
    const clip = key.split('/')[1]!
    clips.set(clip, (clips.get(clip) ?? new Set()).add(split))
  }
  expect([...clips.values()].every((splits) => splits.size === 1)).toBe(true)
  expect(new Set(splitOf(images, { groupDepth: 1 }).values()).size).toBe(1)
  expect(sourcePrefix('a/b/c.jpg', Infinity)).toBe('a/b')
  expect(sourcePrefix('c.jpg', Infinity)).toBe(null)
})

test('when an image joins two groups, the younger follows the oldest member and the moved are listed', () => {
  const before = splitOf(many)
  // Two images of different parts; the first is older.
  const [old, young] = [many[0]!, many.find(({ key }) => before.get(key) !== before.get('0.jpg'))!]
  const bridge = image(9000, { sha256: old.sha256, perceptualHash: young.perceptualHash })
  const now = assignSplits([...many, bridge], options)
  expect(new Set([old, young, bridge].map(({ uri }) => now.get(uri)?.split))).toEqual(
    new Set([before.get('0.jpg')]),
  )
  expect(movedSince(before, now)).toEqual([
    { key: young.key, from: before.get(young.key), to: before.get('0.jpg') },
  ])
})

test('images of two buckets with one key are two images, each beside what looks like it', () => {
  const [here, there] = ['s3://here/', 's3://there/'].map((bucket, n) => ({
    ...image(n),
    uri: `${bucket}same.jpg`,
    key: 'same.jpg',
  })) as [SplitImage, SplitImage]
  const copies = [here, there].map((one, n) => image(n + 2, { sha256: one.sha256 }))
  const groups = assignSplits([here, there, ...copies], options)
  for (const [index, one] of [here, there].entries())
    expect(groups.get(copies[index]!.uri)?.split).toBe(groups.get(one.uri)?.split)
  expect(new Set([...groups.values()].map(({ group }) => group))).toEqual(new Set(['same.jpg']))
  expect(groups.size).toBe(4)
})

test.each([
  ['train=0.9', /make 0.9; expected 1/],
  ['train', /expected name=share/],
  ['a=0.5,a=0.5', /names a twice/],
  ['a=1,b=0', /the share of b is 0/],
])('refuses the shares %s', (text, message) => {
  expect(() => parseShares(text)).toThrow(message)
})
