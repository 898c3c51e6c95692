// Formats whose file is one JSON object with long arrays: each array goes into a file of its own first, and they are
// put together at the end, so that nothing is held. It does not know any format.
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ExportFiles, ExportSink, FileSink, RawRow } from './format.ts'
import { readJsonElements } from './json-elements.ts'
import { dataFiles } from './row-format.ts'

export type SectionFile = {
  add(section: string, value: unknown): Promise<void>
  /** Writes the file: the fields of `head` first, then every array of `sections`, also the empty ones. */
  close(head: Readonly<Record<string, unknown>>): Promise<void>
}

export function createSectionFile(
  sink: ExportSink,
  { path, sections }: { path: string; sections: readonly string[] },
): SectionFile {
  const asides = new Map<string, { file: FileSink; name: string; isEmpty: boolean }>()
  return {
    async add(section, value) {
      let aside = asides.get(section)
      if (aside === undefined) {
        const name = `${path}.${section}.part`
        aside = { file: await sink.create(name), name, isEmpty: true }
        asides.set(section, aside)
      }
      await aside.file.write(`${aside.isEmpty ? '' : ',\n'}${JSON.stringify(value)}`)
      aside.isEmpty = false
    },
    async close(head) {
      const whole = await sink.create(path)
      const fields = Object.entries(head).map(
        ([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`,
      )
      await whole.write(`{${fields.join(',\n')}`)
      for (const [index, section] of sections.entries()) {
        await whole.write(`${index + fields.length === 0 ? '' : ','}\n${JSON.stringify(section)}: [\n`)
        const aside = asides.get(section)
        if (aside !== undefined) {
          await aside.file.close()
          for await (const chunk of createReadStream(join(sink.folder, aside.name))) await whole.write(chunk)
          await rm(join(sink.folder, aside.name))
        }
        await whole.write('\n]')
      }
      await whole.write('\n}\n')
      await whole.close()
    },
  }
}

export async function* sectionRows(files: ExportFiles): AsyncGenerator<RawRow> {
  for (const name of dataFiles(files, 'json')) {
    let number = 0
    for await (const element of readJsonElements(join(files.folder, name))) {
      number += 1
      yield { file: name, number, ...element }
    }
  }
}
