// The images of an export: read once, checked against what was labelled, turned upright, stripped, and put in place.
// It does not know formats.
import { link, mkdir, symlink } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from '../../../schemas/errors.ts'
import { systemCode } from '../../../schemas/system-error.ts'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import { sha256Hex } from '../../canonical-json.ts'
import { explainWriteError } from '../../stores/fs.ts'
import { checkKey } from '../../stores/object-store.ts'
import { writeFileWhole } from './files.ts'
import type { ExportImage, ExportSink, ImageMode } from './format.ts'
import { stripMetadata } from './strip-metadata.ts'
import { UnfitImage } from './unfit-image.ts'

/** What the root lends. */
export type ImagePorts = {
  /** Bytes by URI, or null where there are none. Throws UnfitImage where they cannot be read. */
  readImage(uri: string): Promise<Uint8Array | null>
  /** A JPEG of an image, upright and without metadata. Left out where nothing native may run. */
  toJpeg?: ((bytes: Uint8Array, name: string) => Promise<Uint8Array>) | undefined
}

export type ImageSettings = {
  imageMode: ImageMode
  stripsMetadata: boolean
  sink: ExportSink
  ports: ImagePorts
}

export type ImageAccess = Pick<ExportImage, 'bytes' | 'place' | 'mime'>

/**
 * Reads and checks an image as far as the mode needs its bytes. Throws UnfitImage where they are not those that were
 * labelled, and UserError for what the user must decide.
 */
export async function openExportImage(record: LabelRecord, settings: ImageSettings): Promise<ImageAccess> {
  const { imageMode, ports } = settings
  if (imageMode === 'reference') return referTo(record)
  const { uri, sha256 } = record.source
  const bytes = await ports.readImage(uri)
  if (bytes === null) throw new UnfitImage('missing')
  if (sha256Hex(bytes) !== sha256) throw new UnfitImage('changed since it was labelled')
  return imageMode === 'link' ? linkTo(record, settings) : hold(record, { bytes, settings })
}

function referTo({ source }: LabelRecord): ImageAccess {
  return {
    mime: source.mime ?? '',
    place: async () => source.uri,
    bytes: async () => {
      throw new UserError(`the format needs the bytes of ${source.uri}; export with --images copy or embed`)
    },
  }
}

function linkTo({ source }: LabelRecord, { sink }: ImageSettings): ImageAccess {
  if (!source.uri.startsWith('file:'))
    throw new UserError(
      `${source.uri} is not on this machine, so it cannot be linked; use --images copy or reference`,
    )
  const original = fileURLToPath(source.uri)
  return {
    mime: source.mime ?? '',
    bytes: async () => {
      throw new UserError('linked images are not changed; export with --images copy')
    },
    async place(wanted) {
      if (wanted?.as === 'jpeg' && source.mime !== 'image/jpeg')
        throw new UserError(`the format wants JPEGs and ${source.key} is ${source.mime}; use --images copy`)
      const path = wanted?.path ?? `images/${source.key}`
      checkKey(path)
      const full = join(sink.folder, path)
      await mkdir(dirname(full), { recursive: true })
      await linkOrPoint(original, full)
      return path
    },
  }
}

/** A hard link where the disk is the same; a symbolic link otherwise. A link that is there already stays. */
async function linkOrPoint(original: string, path: string): Promise<void> {
  for (const make of [link, symlink]) {
    try {
      await make(original, path)
      return
    } catch (error) {
      if (systemCode(error) === 'EEXIST') return
      if (make === symlink) throw explainWriteError(error, { path })
    }
  }
}

/** Holds the bytes of one image while it is written. */
function hold(
  record: LabelRecord,
  { bytes, settings }: { bytes: Uint8Array; settings: ImageSettings },
): ImageAccess {
  const { source, image } = record
  const { ports, sink, stripsMetadata } = settings
  const orientation = image?.orientation ?? 1
  // Trainers open files without looking at EXIF, and boxes are of the upright image.
  const isTurned = orientation !== 1 && ports.toJpeg !== undefined
  const mime = isTurned ? 'image/jpeg' : (source.mime ?? '')
  const placed = new Map<string, string>()
  let whole: Uint8Array | null = null
  const plain = async () => {
    if (isTurned) whole ??= await jpegOf(bytes, { ports, name: source.key })
    else if (stripsMetadata) whole ??= stripMetadata(bytes, { mime, orientation })
    return whole ?? bytes
  }
  const converted = async (as?: 'jpeg' | 'rgb-jpeg') =>
    as === 'rgb-jpeg' || (as === 'jpeg' && mime !== 'image/jpeg')
      ? await jpegOf(bytes, { ports, name: source.key })
      : await plain()
  return {
    mime,
    bytes: converted,
    async place(wanted) {
      const renamed = isTurned && !/\.jpe?g$/i.test(source.key) ? `${source.key}.jpg` : source.key
      const path =
        wanted === undefined ? `images/${renamed}` : withExtension(wanted.path, { renamed, key: source.key })
      const known = placed.get(path)
      if (known !== undefined) return known
      await writeFileWhole(sink, path, await converted(wanted?.as))
      placed.set(path, path)
      return path
    },
  }
}

/** A path that ends in the image's own name follows its new name. */
function withExtension(path: string, { renamed, key }: { renamed: string; key: string }): string {
  return renamed !== key && posix.basename(path) === posix.basename(key) ? `${path}.jpg` : path
}

async function jpegOf(
  bytes: Uint8Array,
  { ports, name }: { ports: ImagePorts; name: string },
): Promise<Uint8Array> {
  if (ports.toJpeg === undefined)
    throw new UserError(
      `${name} is no JPEG and the format wants one; nothing here can convert it, so narrow the export with --where mime=image/jpeg`,
    )
  try {
    return await ports.toJpeg(bytes, name)
  } catch (error) {
    throw new UnfitImage('that cannot be made a JPEG', { cause: error })
  }
}
