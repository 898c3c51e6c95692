// Who is who: run, spec and record ids as pure functions of content. It does not know where anything is stored.
import { hash } from 'node:crypto'
import { labelRecordVersion } from '../schemas/label-record.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { Sampling } from '../schemas/sampling.ts'
import type { TaskSpec } from '../schemas/task-spec.ts'
import { canonicalJson, sha256Hex } from './canonical-json.ts'

/**
 * Hash of everything that shapes one task's answer: its prompts and options, the model, the sampling
 * and the record version. Other tasks of the run are not in it, so changing one leaves theirs alone.
 */
export function specHash(spec: TaskSpec, run: { modelDigest: string; sampling: Sampling }): string {
  return sha256Hex(canonicalJson({ recordVersion: labelRecordVersion, spec, ...run }))
}

/** Of what a run's id says, not of the file it is written to: a newer program finds the same run. */
const runIdentityVersion = 1

/** The run's id: the same source, models, tasks and sampling give the same id on any day, whatever it may cost. */
export function runIdOf(
  config: Omit<RunConfig, 'v' | 'runId' | 'claims' | 'costCapUsd' | 'createdAt'>,
): string {
  return `run-${sha256Hex(canonicalJson({ v: runIdentityVersion, ...config })).slice(0, 16)}`
}

/** What identifies an image: its bytes, or, when they were never read, where they should have been. */
export type ImageIdentity = { sha256: string } | { unread: string }

/** Which bytes were not read: whatever names their version best, or else their size. */
type Unread = {
  uri: string
  versionId?: string | undefined
  etag?: string | undefined
  sizeBytes?: number | undefined
}

/** The identity of bytes that were never read: bucket and key (the URI), and the version or ETag where there is one. */
export function unreadIdentity({ uri, versionId, etag, sizeBytes }: Unread): ImageIdentity {
  const version =
    versionId !== undefined
      ? ['version', versionId]
      : etag !== undefined
        ? ['etag', etag]
        : ['size', sizeBytes ?? null]
  return { unread: canonicalJson([uri, ...version]) }
}

export type RecordIdentity = {
  runId: string
  specHash: string
  image: ImageIdentity
  /** Where a run has images of several; left out where its one source is part of the run. */
  bucket?: string | undefined
  key: string
  task: string
  ordinal: number
}

/** Of an image's bytes; null where they were not read. */
export function sha256Of(image: ImageIdentity): string | null {
  return 'sha256' in image ? image.sha256 : null
}

/** The record's id, 32 hex digits. A JSON array has one reading, so no two identities share a spelling. */
export function recordIdOf(identity: RecordIdentity): string {
  const { runId, specHash: spec, image, bucket, key, task, ordinal } = identity
  const imageId = 'sha256' in image ? ['sha256', image.sha256] : ['unread', image.unread]
  const place = bucket === undefined ? key : [bucket, key]
  const text = canonicalJson(['coglabel-record-1', runId, spec, imageId, place, task, ordinal])
  return sha256Hex(text).slice(0, 32)
}

/** Seed of one record, 32 bits: independent of order and batching, so a resumed run draws the same texts. */
export function recordSeed(runSeed: number, recordId: string): number {
  return hash('sha256', `seed ${runSeed} ${recordId}`, 'buffer').readUInt32LE(0)
}
