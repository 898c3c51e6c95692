// Exports opened as trainers open them: by Python's own json, pickle, tarfile and csv, and by pycocotools and webdataset
// where they are installed. Skipped, and counted as skipped, where there is no Python.
import { execFileSync, spawnSync } from 'node:child_process'
import { readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findFormat } from '../../../dataset/exports/registry.ts'
import { everyShape, exportStore, recordsOf, sealedStore } from '../../helpers/export-run.ts'
import { tempFolder } from '../../helpers/temp-folder.ts'

const python = ['python3', 'python'].find((name) => spawnSync(name, ['--version']).status === 0) ?? null
const has = (module: string) => python !== null && spawnSync(python, ['-c', `import ${module}`]).status === 0
if (python === null) console.warn('no Python was found: the tests that open exports with it are skipped')

/** What a script says of a folder, as JSON on its standard output. */
function ask(script: string, folder: string): unknown {
  const text = execFileSync(
    python ?? '',
    ['-c', `import json, sys, os\nroot = sys.argv[1]\n${script}`, folder],
    {
      encoding: 'utf8',
      env: { ...process.env, PYTHONUTF8: '1' },
    },
  )
  return JSON.parse(text)
}

async function exported(name: string): Promise<string> {
  const { folder } = await exportStore(await sealedStore(recordsOf(everyShape)), findFormat(name))
  return folder
}

const typedLoaders = [
  ['llava', 'json'],
  ['sharegpt4v', 'json'],
  ['llama-factory', 'json'],
  ['ms-swift', 'json'],
  ['openai-chat', 'json'],
  ['refcoco', 'json'],
  ['grit', 'json'],
  ['kosmos2', 'json'],
  ['csv', 'csv'],
  ['parquet', 'parquet'],
  ['webdataset', 'webdataset'],
] as const

describe.skipIf(python === null)('Python', () => {
  it('opens the pickled refs, which say what the JSON says, and finds their boxes as REFER does', async () => {
    const folder = await exported('refcoco')
    const found = ask(
      `
import pickle
refs = pickle.load(open(os.path.join(root, 'refs(coglabel).p'), 'rb'))
same = refs == json.load(open(os.path.join(root, 'refs.json'), encoding='utf8'))
data = json.load(open(os.path.join(root, 'instances.json'), encoding='utf8'))
boxes = {one['id']: one for one in data['annotations']}
print(json.dumps({'same': same, 'types': sorted({type(one).__name__ for ref in refs for one in ref.values()}),
  'found': [[ref['sentences'][0]['sent'], boxes[ref['ann_id']]['bbox'], len(boxes[ref['ann_id']]['segmentation'][0])] for ref in refs]}))`,
      folder,
    )
    expect(found).toEqual({
      same: true,
      types: ['int', 'list', 'str'],
      found: [
        ['a dog', [20, 20, 80, 40], 8],
        ['a dog', [100, 25, 50, 25], 8],
        ['the dog', [50, 25, 50, 50], 8],
      ],
    })
  })

  it('reads the shards as a stream, the members of a sample one after the other', async () => {
    const found = ask(
      `
import tarfile
names = []
with tarfile.open(os.path.join(root, 'webdataset-000000.tar'), 'r|*') as tar:
  for member in tar:
    names.append([member.name, len(tar.extractfile(member).read()) == member.size, member.isreg()])
print(json.dumps(names))`,
      await exported('webdataset'),
    )
    expect(found).toEqual(
      ['000000000', '000000001'].flatMap((key) =>
        ['jpg', 'json', 'txt'].map((extension) => [`${key}.${extension}`, true, true]),
      ),
    )
  })

  it.each([
    ['llava', 'llava.json', "[one['image'] for one in rows]"],
    ['sharegpt4v', 'sharegpt4v.json', "[one['image'] for one in rows]"],
    ['llama-factory', 'llama-factory.json', "[path for one in rows for path in one['images']]"],
    ['coco', 'instances_all.json', "[one['file_name'] for one in rows['images']]"],
    ['refcoco', 'instances.json', "[one['file_name'] for one in rows['images']]"],
    ['fiftyone', 'samples.json', "[one['filepath'] for one in rows['samples']]"],
  ])('joins the paths of %s to the folder, and each opens', async (name, file, paths) => {
    const found = ask(
      `
rows = json.load(open(os.path.join(root, '${file}'), encoding='utf8'))
paths = ${paths}
print(json.dumps([len(paths) > 0, [one for one in paths if not os.path.isfile(os.path.join(root, one))]]))`,
      await exported(name),
    )
    expect(found).toEqual([true, []])
  })

  it('reads the CSV with every text whole', async () => {
    const folder = await exported('csv')
    const found = ask(
      `
import csv
rows = list(csv.reader(open(os.path.join(root, 'csv.csv'), newline='', encoding='utf-8-sig')))
print(json.dumps([len({len(row) for row in rows}), len(rows)]))`,
      folder,
    )
    expect(found).toEqual([1, 7])
  })

  it.skipIf(!has('pycocotools'))('indexes COCO with pycocotools and draws its masks', async () => {
    const found = ask(
      `
import contextlib, io
from pycocotools.coco import COCO
with contextlib.redirect_stdout(io.StringIO()):
  boxes, texts = COCO(os.path.join(root, 'instances_all.json')), COCO(os.path.join(root, 'captions_all.json'))
print(json.dumps([abs(int(boxes.annToMask(one).sum()) - one['area']) <= sum(one['bbox'][2:]) for one in boxes.loadAnns(boxes.getAnnIds())] + [len(texts.anns)]))`,
      await exported('coco'),
    )
    expect(found).toEqual([true, true, true, true, true, 2])
  })

  it.skipIf(!has('datasets') || !has('PIL'))(
    'loads every format of rows with Hugging Face datasets, whatever tasks there were',
    { timeout: 240_000 },
    async () => {
      const mixed = recordsOf([
        ...everyShape,
        {
          key: 'c/three.jpg',
          said: [
            { task: 'tags', question: 'q', output: { tags: ['a'] } },
            { task: 'mine', question: 'q', output: { value: { a: 1 } } },
            { task: 'mine', ordinal: 1, question: 'q', output: { value: 'text' } },
          ],
        },
      ])
      const store = await sealedStore(mixed)
      const rows: Record<string, number> = {}
      const folder = await tempFolder()
      for (const [name, builder] of typedLoaders)
        await exportStore(store, findFormat(name), { folder: join(folder, `${name}.${builder}`) })
      Object.assign(
        rows,
        ask(
          `
os.environ['HF_HUB_OFFLINE'] = os.environ['HF_DATASETS_OFFLINE'] = '1'
os.environ['HF_DATASETS_CACHE'] = os.path.join(root, 'cache')
import datasets
datasets.disable_progress_bars()
beside = ('dataset_info.json', 'metadata.json', 'instances.json')
def load(name, builder):
  place = os.path.join(root, name + '.' + builder)
  files = [os.path.join(place, one) for one in sorted(os.listdir(place)) if one.rsplit('.', 1)[-1] in ('json', 'jsonl', 'tar', 'parquet', 'csv') and one not in beside]
  return sum(datasets.load_dataset(builder, data_files=one, split='train').num_rows for one in files)
print(json.dumps({name: load(name, builder) for name, builder in ${JSON.stringify(typedLoaders)}}))`,
          folder,
        ),
      )
      expect(rows).toEqual({
        'llava': 5,
        'sharegpt4v': 2,
        'llama-factory': 5,
        'ms-swift': 5,
        'openai-chat': 5,
        'refcoco': 3,
        'grit': 1,
        'kosmos2': 3,
        'csv': 9,
        'parquet': 8,
        'webdataset': 3,
      })
    },
  )

  it.skipIf(!has('webdataset'))('groups samples with webdataset', async () => {
    const folder = await exported('webdataset')
    const plain = join(await tempFolder(), 'shard.tar')
    await symlink(join(folder, 'webdataset-000000.tar'), plain)
    const found = ask(
      `
import webdataset
print(json.dumps([sorted(key for key in one if not key.startswith('__')) for one in webdataset.WebDataset(root, shardshuffle=False)]))`,
      plain,
    )
    expect(found).toEqual([
      ['jpg', 'json', 'txt'],
      ['jpg', 'json', 'txt'],
    ])
    expect((await readFile(plain)).length).toBeGreaterThan(0)
  })
})
