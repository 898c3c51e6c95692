// The page as it is served: plain files of one folder, read once. It does not know what is in them.
import { readdir, readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'

export type PageFile = { text: string; type: string }

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** By name. A bundle has no place of its own, so its root says where the page lies. */
export async function readPageFiles(folder: string): Promise<ReadonlyMap<string, PageFile>> {
  const files = new Map<string, PageFile>()
  for (const name of await readdir(folder)) {
    const type = types[extname(name)]
    if (type !== undefined) files.set(name, { text: await readFile(join(folder, name), 'utf8'), type })
  }
  return files
}
