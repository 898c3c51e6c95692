// Sidecars: beside each image, in the folders it came from, its caption as .txt and its labels as .json.
// What captioning trainers read, by the stem of the image's name.
import { access, readFile } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { z } from 'zod'
import { captionOf } from './core/content.ts'
import { writeFileWhole } from './core/files.ts'
import type { ExportFiles, ExportFormat, RawRow } from './core/format.ts'
import { expectJson } from './core/json-elements.ts'
import { PlainLabel, plainLabel, readPlainLabel } from './core/plain-label.ts'
import { field, isUri, missingImage, text } from './core/rules.ts'

const Sidecar = z.object({
  image: z.string(),
  key: z.string(),
  width: z.int(),
  height: z.int(),
  labels: z.array(PlainLabel),
})

/** What the trainer takes for images whatever else is installed. */
const knownExtensions = new Set(['.png', '.jpg', '.jpeg', '.webp', '.bmp'])

const kohya = 'kohya-ss/sd-scripts docs/train_README.md and library/train_util.py'

export const sidecar: ExportFormat = {
  name: 'sidecar',
  summary: 'a .txt with the caption and a .json with all labels beside each image',
  imageModes: ['copy', 'link', 'reference'],
  lost: [
    'in the .txt everything but the first caption of the image',
    'the names of images that differ from others in the extension alone: one keeps its name, the others have all of it for a stem (a.png.png)',
    'in the .json sampling, timings, usage, checks and provenance beyond the recordId',
  ],
  open: ({ sink }) => ({
    async write(image) {
      const prefix = image.split === null ? '' : `${image.split}/`
      const stem = await freeStem(sink.folder, prefix + image.key)
      const extension = posix.extname(image.key)
      // Others would be passed over without a word; one that was turned upright is a JPEG now.
      const fits = image.mime !== 'image/jpeg' || /^\.jpe?g$/i.test(extension)
      const placed = await image.place(
        isKnownExtension(extension) && fits
          ? { path: stem + extension }
          : { path: `${stem}.jpg`, as: 'jpeg' },
      )
      const caption = captionOf(image.records)
      if (caption !== null)
        await writeFileWhole(sink, `${stem}.txt`, `${caption.replaceAll(/\s*\n\s*/g, ' ').trim()}\n`)
      const labels = image.records.map(plainLabel)
      const whole = { image: placed, key: image.key, width: image.width, height: image.height, labels }
      await writeFileWhole(sink, `${stem}.json`, `${JSON.stringify(whole, null, 1)}\n`)
      return 1
    },
    close: async () => {},
  }),
  rows: sidecarRows,
  async *read(files) {
    for await (const { value, section } of sidecarRows(files)) {
      if (section !== 'json') continue
      const { image, width, height, labels } = Sidecar.parse(value)
      yield { image, width, height, labels: labels.map(readPlainLabel) }
    }
  },
  rules: [
    {
      name: 'caption-is-one-line',
      says: 'the caption file is UTF-8 with one line that is not empty',
      source: kohya,
      problem({ file, section, value }) {
        if (section !== 'txt') return null
        const lines = String(value).trimEnd().split('\n')
        return lines.length === 1 && lines[0] !== '' ? null : `${file} has ${lines.length} lines`
      },
    },
    {
      name: 'image-extension-known',
      says: 'the image is .png, .jpg, .jpeg, .webp or .bmp: of others the trainer takes no notice',
      source: `${kohya} IMAGE_EXTENSIONS`,
      problem({ file, section, value }) {
        const image = text(field(value, 'image'))
        if (section !== 'json' || isUri(image)) return null
        return isKnownExtension(posix.extname(image)) ? null : `${file} is of ${image}`
      },
    },
    {
      name: 'image-beside',
      says: 'the image has the stem of its sidecars, in the same folder',
      source: kohya,
      problem({ file, section, value }, { files }) {
        if (section !== 'json') return null
        const image = field(value, 'image')
        if (!isUri(text(image)) && stemOf(String(image)) !== stemOf(file))
          return `${file} is of ${String(image)}`
        return missingImage(image, files)
      },
    },
  ],
}

/** In small letters or in capitals; not `.Jpg`. */
function isKnownExtension(extension: string): boolean {
  return [...knownExtensions].some((known) => extension === known || extension === known.toUpperCase())
}

/**
 * The stem of the image and what lies beside it. Trainers find a caption by the stem, so of images whose names differ in
 * the extension alone the later ones get their whole names for it: a.jpg with a.txt, a.png.png with a.png.txt.
 */
async function freeStem(folder: string, path: string): Promise<string> {
  const extension = posix.extname(path)
  for (let stem = stemOf(path); ; stem += extension === '' ? '.jpg' : extension) {
    const isTaken = await access(join(folder, `${stem}.json`)).then(
      () => true,
      () => false,
    )
    if (!isTaken) return stem
  }
}

function stemOf(path: string): string {
  return path.slice(0, path.length - posix.extname(path).length)
}

async function* sidecarRows({ folder, names }: ExportFiles): AsyncGenerator<RawRow> {
  const sidecars = new Set(names.filter((name) => name.endsWith('.json') || name.endsWith('.txt')))
  for (const file of sidecars) {
    const section = file.endsWith('.txt') ? 'txt' : 'json'
    const content = await readFile(join(folder, file), 'utf8')
    const value: unknown = section === 'txt' ? content : expectJson(content, join(folder, file))
    if (section === 'txt' || field(value, 'labels') !== undefined) yield { file, section, number: 1, value }
  }
}
