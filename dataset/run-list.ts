// The list of a run whose images come with fields of their own: written once, from a manifest of this machine. The same
// manifest gives the same bytes, so a writer that was killed goes on. It does not know images or messages.
import { UserError } from '../schemas/errors.ts'
import { RunList, runListKey, runListLinesKey, runListVersion } from '../schemas/run-list.ts'
import type { WorkItem } from '../schemas/work-item.ts'
import { sha256Hex } from './canonical-json.ts'
import { parseJson } from './parse-json.ts'
import type { KeyList } from './plan-lists.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** Of one file of lines, so long as its last line is no longer: what is in memory at a time. */
const fileBytes = 4 * 1024 * 1024

export type WriteRunList = {
  items: AsyncGenerator<WorkItem>
  /** The run's. */
  store: ObjectStore
  /** Where the images were put: a prefix that ends in a slash. */
  bucket: string
  prefix: string
  /** Write nothing more and return. */
  stop?: AbortSignal | undefined
}

/** Writes the list, or finds it written. Throws UserError when the run has another. */
export async function writeRunList(options: WriteRunList): Promise<void> {
  const { store, stop } = options
  const list: RunList = { v: runListVersion, images: 0, files: [] }
  for await (const { bytes, ...file } of toFiles(options)) {
    if (stop?.aborted === true) return
    await create(store, file.key, bytes)
    list.files.push(file)
    list.images += file.images
  }
  await create(store, runListKey, Buffer.from(`${JSON.stringify(RunList.parse(list))}\n`))
}

/** Throws UserError when the run has a list already and these items make another. */
export async function checkRunList(options: WriteRunList): Promise<void> {
  const standing = await readRunList(options.store)
  if (standing === null) return
  const files: RunList['files'] = []
  for await (const { bytes: _bytes, ...file } of toFiles(options)) files.push(file)
  if (JSON.stringify(files) !== JSON.stringify(standing.files)) refuse(options.store)
}

/** The files of a run's list, or null where it has none, or none that is whole. */
export async function openRunList(store: ObjectStore): Promise<KeyList[] | null> {
  const list = await readRunList(store)
  return list === null ? null : list.files.map(({ key }) => ({ key }))
}

async function readRunList(store: ObjectStore): Promise<RunList | null> {
  const bytes = await store.get(runListKey)
  if (bytes === null) return null
  const list = RunList.safeParse(parseJson(bytes))
  if (list.success) return list.data
  throw new UserError(
    `${store.uri}${runListKey} is not a list of images that this version can read; restore the run`,
    { cause: list.error },
  )
}

type LinesFile = RunList['files'][number] & { bytes: Buffer }

async function* toFiles({ items, bucket, prefix }: WriteRunList): AsyncGenerator<LinesFile> {
  let [index, lines, heldBytes] = [0, [] as Buffer[], 0]
  const finish = (): LinesFile => {
    const bytes = Buffer.concat(lines)
    const file = { key: runListLinesKey(index), images: lines.length, sha256: sha256Hex(bytes), bytes }
    ;[index, lines, heldBytes] = [index + 1, [], 0]
    return file
  }
  for await (const { key, ...own } of items) {
    const line = Buffer.from(`${JSON.stringify({ bucket, key: prefix + key, ...own })}\n`)
    lines.push(line)
    heldBytes += line.length
    if (heldBytes >= fileBytes) yield finish()
  }
  if (lines.length > 0) yield finish()
}

async function create(store: ObjectStore, key: string, bytes: Buffer): Promise<void> {
  if ((await store.putIfAbsent(key, bytes)) === 'created') return
  const standing = await store.get(key)
  if (standing === null || !bytes.equals(standing)) refuse(store)
}

function refuse(store: ObjectStore): never {
  throw new UserError(
    `the manifest is not what it was when its run was submitted (${store.uri}${runListKey}); ` +
      'what a run labels is never replaced, submit another run with --run NAME',
  )
}
