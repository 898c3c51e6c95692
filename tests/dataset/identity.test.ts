// Ids: pure functions of content, and nothing else.
import { expect, test } from 'vitest'
import { canonicalJson } from '../../dataset/canonical-json.ts'
import { IdIndex } from '../../dataset/id-index.ts'
import { recordIdOf, recordSeed, specHash, unreadIdentity } from '../../dataset/identity.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'

const identity = { runId: 'r', specHash: 's', image: { sha256: 'i' }, key: 'k', task: 't', ordinal: 0 }

test('spells one value one way', () => {
  expect(canonicalJson({ b: [{ d: 1, c: undefined }], a: 'é' })).toBe('{"a":"é","b":[{"d":1}]}')
})

test('gives a record another id when any part of its identity differs', () => {
  const others = [
    { ...identity, runId: 'r2' },
    { ...identity, specHash: 's2' },
    { ...identity, image: { sha256: 'i2' } },
    { ...identity, image: { unread: 'i' } },
    { ...identity, key: 'k2' },
    { ...identity, task: 't2' },
    { ...identity, ordinal: 1 },
    { ...identity, key: 'k","t', task: '' },
    { ...identity, bucket: 'b' },
    { ...identity, bucket: 'b/k' },
  ]
  const ids = new Set([identity, ...others].map(recordIdOf))
  expect(ids.size).toBe(others.length + 1)
  expect(recordIdOf(identity)).toMatch(/^[0-9a-f]{32}$/)
  expect(recordIdOf({ ...identity })).toBe(recordIdOf(identity))
})

test('tells bytes never read apart by place and by version, ETag or size, and by nothing else', () => {
  const known = [
    { uri: 's3://b/k' },
    { uri: 's3://b/k', sizeBytes: 1 },
    { uri: 's3://b/k', etag: '1' },
    { uri: 's3://b/k', versionId: '1' },
    { uri: 's3://b/l', versionId: '1' },
  ]
  expect(new Set(known.map((one) => JSON.stringify(unreadIdentity(one)))).size).toBe(known.length)
  // The size is in the listing only, the version in both; they shall agree.
  const version = { uri: 's3://b/k', versionId: '1' }
  expect(unreadIdentity({ ...version, etag: 'e', sizeBytes: 5 })).toEqual(unreadIdentity(version))
})

test('gives a task another spec hash only for what shapes its answer', () => {
  const spec: TaskSpec = {
    task: 'qa',
    taskVersion: 1,
    ordinal: 0,
    template: 'chat',
    prompts: [{ question: 'q' }],
    maxNewTokens: 8,
  }
  const run = {
    modelDigest: 'd',
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
  }
  const hashes = [
    specHash(spec, run),
    specHash({ ...spec, prompts: [{ question: 'other' }] }, run),
    specHash({ ...spec, taskVersion: 2 }, run),
    specHash({ ...spec, options: { a: 1 } }, run),
    specHash(spec, { ...run, modelDigest: 'e' }),
    specHash(spec, { ...run, sampling: { ...run.sampling, temperature: 1 } }),
  ]
  expect(new Set(hashes).size).toBe(hashes.length)
  expect(specHash({ ...spec }, run)).toBe(hashes[0])
})

test('seeds each record on its own', () => {
  expect(recordSeed(1, 'a')).toBe(recordSeed(1, 'a'))
  expect(new Set([recordSeed(1, 'a'), recordSeed(2, 'a'), recordSeed(1, 'b')]).size).toBe(3)
})

test('remembers twenty thousand ids and their ranks', () => {
  const index = new IdIndex()
  const ids = Array.from({ length: 20_000 }, (_, n) => recordIdOf({ ...identity, ordinal: n }))
  for (const [n, id] of ids.entries()) index.set(id, n % 3)
  for (const [n, id] of ids.entries()) if (index.rankOf(id) !== n % 3) throw new Error(`lost ${id}`)
  index.set(ids[0] ?? '', 2)
  expect([index.size, index.rankOf(ids[0] ?? ''), index.has('f'.repeat(32))]).toEqual([20_000, 2, false])
})
