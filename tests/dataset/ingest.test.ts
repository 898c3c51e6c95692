// Ingest: which files of a source are work, in which order, and what is refused or left out and told.
import { execFileSync } from 'node:child_process'
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { openSource } from '../../dataset/ingest.ts'
import { UserError } from '../../schemas/errors.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

async function plant(files: Record<string, string>): Promise<string> {
  const folder = await tempFolder()
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
  return folder
}

async function look(path: string, exclude = '/nowhere') {
  const source = await openSource(path, { exclude })
  const items = []
  for await (const item of source.items()) items.push(item)
  return { items, keys: items.map((item) => item.key), scan: await source.scan(), source }
}

test('finds images in all folders, in key order, and counts what it leaves out', async () => {
  const folder = await plant({
    'b.jpg': '',
    'a/z.PNG': '',
    'a/é.webp': '',
    'a-b.gif': '',
    '.hidden.jpg': '',
    '.git/x.jpg': '',
    'note.txt': '',
    'a/readme': '',
    'back\\slash.png': '',
  })
  await symlink('/etc/passwd', join(folder, 'link.jpg'))
  await symlink('/etc', join(folder, 'etc'))
  const { keys, scan, source } = await look(folder)
  expect(keys).toEqual(['a-b.gif', 'a/z.PNG', 'a/é.webp', 'b.jpg'])
  expect(scan).toEqual({
    images: 4,
    skipped: { 'hidden': 2, 'not an image by its extension': 2, 'unusable name': 1, 'symbolic link': 2 },
  })
  expect(source.source.kind).toBe('folder')
})

test.runIf(process.platform === 'linux')('counts what has a name that is not UTF-8', async () => {
  const folder = await plant({ 'a.jpg': '', 'b/c.jpg': '' })
  const latin = (name: string) => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, 'latin1')])
  await writeFile(latin('b/caf\u00e9.jpg'), '')
  await writeFile(latin('caf\u00e9.txt'), '')
  await mkdir(latin('\u00e9t\u00e9'))
  await writeFile(latin('\u00e9t\u00e9/d.jpg'), '')
  expect((await look(folder)).scan).toEqual({ images: 2, skipped: { 'unusable name': 2 } })
})

test.skipIf(process.platform === 'win32')(
  'goes on without folders that are closed to it, and counts them',
  async () => {
    const folder = await plant({ 'a.jpg': '', 'b/c.jpg': '', 'lost+found/d.jpg': '', '.Trash-0/e.jpg': '' })
    await chmod(folder, 0o755)
    for (const closed of ['lost+found', '.Trash-0']) await chmod(join(folder, closed), 0)
    const script = `
    const { openSource } = await import(${JSON.stringify(new URL('../../dataset/ingest.ts', import.meta.url).href)})
    const source = await openSource(${JSON.stringify(folder)})
    const keys = (await Array.fromAsync(source.items())).map(({ key }) => key)
    console.log(JSON.stringify({ keys, scan: await source.scan() }))`
    // To root nothing is closed.
    const user = process.getuid?.() === 0 ? { uid: 65_534 } : {}
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], { ...user, cwd: '/' })
    // Or nobody but root could remove them.
    for (const closed of ['lost+found', '.Trash-0']) await chmod(join(folder, closed), 0o755)
    expect(JSON.parse(said.toString())).toEqual({
      keys: ['a.jpg', 'b/c.jpg'],
      scan: { images: 2, skipped: { 'folder that may not be listed': 1 } },
    })
  },
)

test('never takes its own run folder for a source', async () => {
  const folder = await plant({ 'a.jpg': '', 'out/thumbs/b.jpg': '', 'out-2/c.jpg': '' })
  expect((await look(folder, join(folder, 'out'))).keys).toEqual(['a.jpg', 'out-2/c.jpg'])
  // A name that begins with two dots leads nowhere up.
  const dotted = await plant({ 'a.jpg': '', '..out/b.jpg': '' })
  expect((await look(dotted, join(dotted, '..out'))).scan).toEqual({ images: 1, skipped: {} })
  await expect(look(folder, folder)).rejects.toThrow(/both the source and the run folder/)
})

test('takes one image whatever its extension', async () => {
  const folder = await plant({ 'photo.data': '' })
  expect((await look(join(folder, 'photo.data'))).keys).toEqual(['photo.data'])
})

test('reads a manifest: three names for the image, other fields kept as meta, repeats told', async () => {
  const lines = [
    '\u{feff}{"image": "./a.jpg", "id": 7, "caption": "old"}',
    '',
    '{"path": "b//c.jpg", "image": null, "id": null, "meta": {"tags": ["x"]}}\r',
    '{"file": "a.jpg"}',
  ]
  const folder = await plant({ 'list.jsonl': lines.join('\n') })
  const { items, scan } = await look(join(folder, 'list.jsonl'))
  expect(items).toEqual([
    { key: 'a.jpg', meta: { caption: 'old', id: 7 } },
    { key: 'b/c.jpg', meta: { tags: ['x'] } },
  ])
  expect(scan).toEqual({ images: 2, skipped: { 'named twice': 1 } })
})

test('only a line feed ends a line: JSON may hold the line separators of Unicode as they are', async () => {
  const caption = 'one\u2028two\u2029three'
  const folder = await plant({ 'list.jsonl': JSON.stringify({ image: 'a.jpg', caption }) })
  expect((await look(join(folder, 'list.jsonl'))).items).toEqual([{ key: 'a.jpg', meta: { caption } }])
})

test("takes an image's own questions and phrases from its line, and leaves those of another form in meta", async () => {
  const lines = [
    { image: 'a.jpg', questions: ['Is there a dog?', 'Is there a dog?'], phrases: ['the dog'] },
    { image: 'b.jpg', questions: [{ q: 'from another tool' }], phrases: 'the cat' },
    { image: 'c.jpg', questions: [] },
    { image: 'd.jpg', questions: null, phrases: null, meta: null, note: null },
  ]
  const folder = await plant({ 'list.jsonl': lines.map((line) => JSON.stringify(line)).join('\n') })
  const { items, scan } = await look(join(folder, 'list.jsonl'))
  expect(items).toEqual([
    { key: 'a.jpg', questions: ['Is there a dog?'], phrases: ['the dog'] },
    { key: 'b.jpg', meta: { questions: [{ q: 'from another tool' }], phrases: 'the cat' } },
    { key: 'c.jpg', meta: { questions: [] } },
    { key: 'd.jpg', meta: { note: null } },
  ])
  expect(scan).toEqual({
    images: 4,
    skipped: {},
    // What looks like something to ask and is not asked is told.
    unasked: { questions: 2, phrases: 1 },
    brings: { questions: true, phrases: true },
  })
})

test('accepts an absolute path inside the manifest folder', async () => {
  const folder = await plant({})
  await writeFile(join(folder, 'list.jsonl'), JSON.stringify({ image: join(folder, 'x/y.jpg') }))
  expect((await look(join(folder, 'list.jsonl'))).keys).toEqual(['x/y.jpg'])
})

test.each([
  ['{"image": "../x.jpg"}', /outside the manifest's folder/],
  ['{"image": "a/../../x.jpg"}', /outside the manifest's folder/],
  ['{"image": "/etc/passwd"}', /outside the manifest's folder/],
  ['{"image": "a\\\\b.jpg"}', /backslash/],
  ['{"image": "a\\u0000.jpg"}', /NUL/],
  ['{"image": "https://example.org/x.jpg"}', /only files beside the manifest/],
  ['{"name": "x.jpg"}', /names no image/],
  ['{"image": 3}', /line 1 of/],
  ['not json', /is not JSON/],
  ['{"image": "a.jpg", "score": NaN}', /JSON has no NaN and no Infinity, write null/],
])('fails on the manifest line %s and says which it is', async (line, message) => {
  const folder = await plant({ 'list.jsonl': line })
  const failed = look(join(folder, 'list.jsonl'))
  await expect(failed).rejects.toThrow(UserError)
  await expect(failed).rejects.toThrow(message)
})

test('fails where an image is named again with more to ask: half of it would be dropped', async () => {
  const lines = [
    { image: 'a.jpg', questions: ['Is there a dog?'] },
    { image: './a.jpg', questions: ['How many?'] },
  ]
  const folder = await plant({ 'list.jsonl': lines.map((line) => JSON.stringify(line)).join('\n') })
  await expect(look(join(folder, 'list.jsonl'))).rejects.toThrow(
    /line 2 of .* names a\.jpg again, with more to ask/,
  )
})

test('fails on UTF-16 with printable words', async () => {
  const folder = await plant({})
  await writeFile(join(folder, 'list.jsonl'), Buffer.from('\u{feff}{"image": "a.jpg"}\n', 'utf16le'))
  const error: unknown = await look(join(folder, 'list.jsonl')).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(UserError)
  expect(String(error)).toMatch(/it looks like UTF-16, save it as UTF-8/)
  expect(String(error)).not.toMatch(/\p{Cc}/u)
})

test.each(['list.txt', 'labels.json', 'rows.CSV', 'data.parquet', 'images.tar'])(
  'fails on %s, which holds no image itself, before a run begins',
  async (name) => {
    const folder = await plant({ [name]: 'a.jpg' })
    await expect(look(join(folder, name))).rejects.toThrow(
      /no image and no manifest; a manifest ends in \.jsonl/,
    )
  },
)

test.each([
  ['/no/such/place', /there is no file or folder .* give a folder of images/],
  ['s3://bucket/photos', /coglabel submit/],
  ['https://example.org/a.jpg', /download the images first/],
])('fails on the source %s, which is not there', async (path, message) => {
  await expect(look(path)).rejects.toThrow(message)
})
