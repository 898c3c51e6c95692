// Splitting images into train, val and test without leaks: what looks alike or comes from one folder stays together.
// Pure: the same images, seed and shares give the same split. It does not know where images come from.
import { createHash } from 'node:crypto'
import { UserError } from '../../../schemas/errors.ts'
import { compareKeys } from '../../stores/object-store.ts'

export type SplitShares = readonly { name: string; share: number }[]

export type SplitImage = {
  /** Names the image for sure: images of several buckets may have one key. */
  uri: string
  key: string
  sha256: string
  /** 16 hex digits; null where there is none. */
  perceptualHash: string | null
  /** When its first label was made; the oldest member of a group decides for all. */
  createdAt: string
}

export type SplitOptions = {
  shares: SplitShares
  seed: number
  /** How many leading folders of a key make a group; 0 for none, Infinity for the whole folder. */
  groupDepth: number
}

export type Assignment = { key: string; split: string; group: string }

/** Hashes that differ in at most this many of 64 bits are one picture; five bands find all of them by pigeonhole. */
export const nearBits = 4
const bands = [
  [0, 13],
  [13, 13],
  [26, 13],
  [39, 13],
  [52, 12],
] as const

/**
 * The split of every image by URI. A group is a connected set: equal bytes, near pictures, or one source folder. Its
 * oldest member draws for it by its own bytes, so an image that joins later moves nobody, unless it joins two groups:
 * then the younger group follows the older one.
 */
export function assignSplits(
  images: readonly SplitImage[],
  { shares, seed, groupDepth }: SplitOptions,
): Map<string, Assignment> {
  const oldestFirst = images.toSorted(
    (left, right) =>
      compareKeys(left.createdAt, right.createdAt) ||
      compareKeys(left.key, right.key) ||
      compareKeys(left.uri, right.uri),
  )
  const groups = new DisjointSets(oldestFirst.length)
  joinEqual(oldestFirst, groups, ({ sha256 }) => sha256)
  joinEqual(oldestFirst, groups, ({ key }) => sourcePrefix(key, groupDepth))
  joinNear(oldestFirst, groups)
  const assignments = new Map<string, Assignment>()
  for (const [index, { uri, key }] of oldestFirst.entries()) {
    const oldest = oldestFirst[groups.find(index)]
    if (oldest !== undefined)
      assignments.set(uri, { key, split: draw(oldest.sha256, { shares, seed }), group: oldest.key })
  }
  return assignments
}

/** For each image the index of the first that has its bytes or looks like it: its own where it stands alone. */
export function nearGroups(
  images: readonly { sha256: string | null; perceptualHash: string | null }[],
): number[] {
  const groups = new DisjointSets(images.length)
  joinEqual(images, groups, ({ sha256 }) => sha256)
  joinNear(images, groups)
  return images.map((_, index) => groups.find(index))
}

/** The folders a key is grouped by, or null when it stands alone: keys without a folder are no group. */
export function sourcePrefix(key: string, groupDepth: number): string | null {
  const folders = key.split('/').slice(0, -1).slice(0, groupDepth)
  return folders.length === 0 ? null : folders.join('/')
}

/** Where on [0, 1) the image falls, and whose share that is. */
function draw(sha256: string, { shares, seed }: { shares: SplitShares; seed: number }): string {
  const at = createHash('sha256').update(`split ${seed} ${sha256}`).digest().readUInt32LE(0) / 2 ** 32
  let upTo = 0
  for (const { name, share } of shares) {
    upTo += share
    if (at < upTo) return name
  }
  return shares.at(-1)?.name ?? ''
}

/** Sets over the numbers 0 to n-1 whose representative is always the smallest: the oldest. */
class DisjointSets {
  readonly #parents: Uint32Array

  constructor(count: number) {
    this.#parents = Uint32Array.from({ length: count }, (_, index) => index)
  }

  find(index: number): number {
    let root = index
    while (this.#parent(root) !== root) root = this.#parent(root)
    for (let at = index; at !== root;) {
      const next = this.#parent(at)
      this.#parents[at] = root
      at = next
    }
    return root
  }

  join(left: number, right: number): void {
    const [a, b] = [this.find(left), this.find(right)]
    this.#parents[Math.max(a, b)] = Math.min(a, b)
  }

  #parent(index: number): number {
    return this.#parents[index] ?? index
  }
}

function joinEqual<T>(images: readonly T[], groups: DisjointSets, nameOf: (image: T) => string | null): void {
  const first = new Map<string, number>()
  for (const [index, image] of images.entries()) {
    const name = nameOf(image)
    if (name === null) continue
    const known = first.get(name)
    if (known === undefined) first.set(name, index)
    else groups.join(known, index)
  }
}

/** Joins images whose hashes are near. Equal hashes are joined first, so that each is compared once. */
function joinNear(images: readonly { perceptualHash: string | null }[], groups: DisjointSets): void {
  joinEqual(images, groups, ({ perceptualHash }) => perceptualHash)
  const byHash = new Map<string, number>()
  for (const [index, { perceptualHash }] of images.entries())
    if (perceptualHash !== null && !byHash.has(perceptualHash)) byHash.set(perceptualHash, index)
  const hashes = [...byHash.keys()].map((hash) => BigInt(`0x${hash}`))
  const owners = [...byHash.values()]
  const highs = Uint32Array.from(hashes, (hash) => Number(hash >> 32n))
  const lows = Uint32Array.from(hashes, (hash) => Number(hash & 0xffff_ffffn))
  for (const [from, width] of bands) {
    const buckets = new Map<number, number[]>()
    for (const [index, hash] of hashes.entries()) {
      const band = Number((hash >> BigInt(from)) & ((1n << BigInt(width)) - 1n))
      const bucket = buckets.get(band)
      if (bucket === undefined) buckets.set(band, [index])
      else bucket.push(index)
    }
    for (const bucket of buckets.values()) joinBucket(bucket, { highs, lows, owners, groups })
  }
}

type Hashes = { highs: Uint32Array; lows: Uint32Array; owners: readonly number[]; groups: DisjointSets }

function joinBucket(bucket: readonly number[], { highs, lows, owners, groups }: Hashes): void {
  for (const [at, left] of bucket.entries()) {
    for (let next = at + 1; next < bucket.length; next += 1) {
      const right = bucket[next] ?? left
      const bits =
        bitCount((highs[left] ?? 0) ^ (highs[right] ?? 0)) + bitCount((lows[left] ?? 0) ^ (lows[right] ?? 0))
      if (bits <= nearBits) groups.join(owners[left] ?? 0, owners[right] ?? 0)
    }
  }
}

/** Ones among 32 bits, by adding neighbours of 1, 2 and 4 bits (Hacker's Delight, 5-1). */
function bitCount(bits: number): number {
  let count = bits - ((bits >>> 1) & 0x5555_5555)
  count = (count & 0x3333_3333) + ((count >>> 2) & 0x3333_3333)
  return Math.imul((count + (count >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}

export type Moved = { key: string; from: string; to: string }

/** Images that an earlier split put elsewhere. */
export function movedSince(
  earlier: ReadonlyMap<string, string>,
  now: ReadonlyMap<string, Assignment>,
): Moved[] {
  return [...now.values()].flatMap(({ key, split }) => {
    const from = earlier.get(key)
    return from === undefined || from === split ? [] : [{ key, from, to: split }]
  })
}

/** `train=0.9,val=0.05,test=0.05`. Throws UserError unless the shares are over 0 and make 1. */
export function parseShares(text: string): SplitShares {
  const shares = text.split(',').map((one) => {
    const match = /^\s*([a-z][a-z0-9-]{0,30})\s*=\s*(\d*\.?\d+)\s*$/.exec(one)
    if (match === null)
      throw new UserError(
        `--split has "${one}"; expected name=share, for example train=0.9,val=0.05,test=0.05`,
      )
    return { name: match[1] ?? '', share: Number(match[2]) }
  })
  const sum = shares.reduce((total, { share }) => total + share, 0)
  if (Math.abs(sum - 1) > 1e-6) throw new UserError(`the shares of --split ${text} make ${sum}; expected 1`)
  const twice = shares.find(({ name }, index) => shares.findIndex((other) => other.name === name) !== index)
  if (twice !== undefined) throw new UserError(`--split names ${twice.name} twice`)
  const none = shares.find(({ share }) => share === 0)
  if (none !== undefined) throw new UserError(`the share of ${none.name} is 0; leave it out`)
  return shares
}
