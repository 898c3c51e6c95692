// Deleting in the runs of a place. It is apart from the place itself, so that whoever has a place cannot delete.
import { fileURLToPath } from 'node:url'
import { runsPrefix } from './events.ts'
import { type Place, type PlaceConnection, s3Connection } from './place.ts'
import { openFsSweeper } from './stores/fs-sweeper.ts'
import type { ObjectSweeper } from './stores/object-sweeper.ts'
import { openS3Sweeper } from './stores/s3.ts'

/** What deletes in one run of a place; the caller closes it. */
export function openRunSweeper(
  place: Place,
  { runId, connection }: { runId: string; connection: PlaceConnection },
): ObjectSweeper & { close(): void } {
  // The place refuses names that lead elsewhere.
  const { uri } = place.runStoreOf(runId)
  if (uri.startsWith('file:')) return { ...openFsSweeper(fileURLToPath(uri)), close() {} }
  return openS3Sweeper({
    bucket: new URL(place.uri).host,
    prefix: `${runsPrefix}${runId}/`,
    ...s3Connection(connection, place.deployment),
  })
}
