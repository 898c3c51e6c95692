// The lock file of a pushed model: its files, and how each is cut into objects. It does not know stores or disks.
import { z } from 'zod'
import { ManifestFile } from './model-manifest.ts'

export const weightsLockVersion = 1

/** Beside the pieces, and written after all of them: a model without it is not there yet. */
export const weightsLockKey = 'weights.lock.json'

/** A piece is held in memory while it goes up. */
const maxPieceBytes = 1024 * 1024 * 1024

/** What a file system takes, less what is put around the name while the file is under way. */
const LockedFile = ManifestFile.extend({ name: ManifestFile.shape.name.max(200) })
export type LockedFile = z.infer<typeof LockedFile>

export const WeightsLock = z.strictObject({
  v: z.literal(weightsLockVersion),
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe('of the compiled model, as its manifest has it'),
  name: z.string().min(1).describe('of the model, for people'),
  pieceBytes: z.int().positive().max(maxPieceBytes).describe('size of every object of a file but its last'),
  files: z.array(LockedFile).min(1).max(1000).describe('of the compiled folder, the manifest among them'),
})
export type WeightsLock = z.infer<typeof WeightsLock>

/** One object of a file: bytes [start, end) of it. */
export type WeightsPiece = { key: string; start: number; end: number }

/** The objects that hold a file, in order; none for an empty one. Named by content, so no two models collide. */
export function piecesOf({ name, bytes, sha256 }: LockedFile, pieceBytes: number): WeightsPiece[] {
  return Array.from({ length: Math.ceil(bytes / pieceBytes) }, (_, index) => ({
    key: `files/${sha256.slice(0, 16)}-${name}/${String(index).padStart(5, '0')}`,
    start: index * pieceBytes,
    end: Math.min(bytes, (index + 1) * pieceBytes),
  }))
}
