// One breaking export for each loading rule: all else about it is right, so that only this rule speaks.
import { parquetWriteBuffer, schemaFromColumnData } from 'hyparquet-writer'
import { someRecord } from '../../helpers/records.ts'
import { tarEnd, tarMember } from '../../../dataset/exports/core/tar.ts'

type Files = Record<string, string | Uint8Array>

const picture = { 'images/1.jpg': 'x' }
const json = (...rows: unknown[]) => JSON.stringify(rows)
const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')

const llava = (change: object) =>
  ({
    ...picture,
    'llava.json': json({
      id: 'r1',
      image: 'images/1.jpg',
      conversations: talk('<image>\nWhat?', 'A dog.'),
      ...change,
    }),
  }) satisfies Files
const talk = (...values: string[]) =>
  values.map((value, index) => ({ from: index % 2 === 0 ? 'human' : 'gpt', value }))

const messages = (...contents: unknown[]) =>
  contents.map((content, index) => ({ role: index % 2 === 0 ? 'user' : 'assistant', content }))
const part = (url: string) => ({ type: 'image_url', image_url: { url } })
/** The signature and the header of a grey image; a check of headers reads no further. */
const greyPng = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA='
const asked = [part('data:image/png;base64,AAAA'), { type: 'text', text: 'What?' }]

const request = {
  custom_id: 'a-0',
  method: 'POST',
  url: '/v1/chat/completions',
  body: { model: 'm', messages: messages(asked) },
}

const factoryRow = { messages: messages('<image>What?', 'A dog.'), images: ['images/1.jpg'] }
const factoryInfo = JSON.stringify({
  coglabel_x: {
    file_name: 'x.json',
    formatting: 'sharegpt',
    columns: { messages: 'messages', images: 'images' },
    tags: { role_tag: 'role', content_tag: 'content', user_tag: 'user', assistant_tag: 'assistant' },
  },
})
const factory = (change: object): Files => ({
  ...picture,
  'dataset_info.json': factoryInfo,
  'x.json': json({ ...factoryRow, ...change }),
})

const swift = (change: object): Files => ({
  ...picture,
  'x.jsonl': lines({
    messages: messages('<image>Find it.', '<ref-object><bbox>'),
    images: ['images/1.jpg'],
    objects: { ref: ['a dog'], bbox: [[0.1, 0.1, 0.5, 0.5]], bbox_type: 'norm1' },
    ...change,
  }),
})

const cocoImage = { id: 1, file_name: 'images/1.jpg', width: 10, height: 10 }
const instance = {
  id: 1,
  image_id: 1,
  category_id: 1,
  bbox: [1, 1, 5, 5],
  area: 25,
  iscrowd: 0,
  segmentation: [[1, 1, 6, 1, 6, 6, 1, 6]],
}
const coco = (change: object): Files => ({
  ...picture,
  'instances_all.json': JSON.stringify({
    info: {},
    images: [cocoImage],
    categories: [{ id: 1, name: 'dog', supercategory: '' }],
    annotations: [instance],
    ...change,
  }),
})

function tar(...names: string[]): Files {
  const members = names.flatMap((name) => [
    ...tarMember(name, Buffer.from(name.endsWith('json') ? '{}' : 'x')),
  ])
  return { 'x-000000.tar': Buffer.concat([...members, tarEnd]) }
}

const gritRow = {
  key: 'r1',
  url: 's3://b/1.jpg',
  caption: 'a dog and a cat',
  width: 10,
  height: 10,
  noun_chunks: [[0, 5, 0, 0, 0.5, 0.5, 1]],
  ref_exps: [],
}
const grit = (...chunks: number[][]): Files => ({ 'x.jsonl': lines({ ...gritRow, noun_chunks: chunks }) })

const cell = (number: number) => `<patch_index_${String(number).padStart(4, '0')}>`
const kosmos = (change: object): Files => ({
  ...picture,
  'x.jsonl': lines({
    id: 'r1',
    image: 'images/1.jpg',
    text: `<grounding> <phrase>a dog</phrase><object>${cell(0)}${cell(100)}</object>`,
    ...change,
  }),
})

const reference = {
  ref_id: 0,
  ann_id: 1,
  category_id: 1,
  image_id: 1,
  sent_ids: [0],
  sentences: [{ sent_id: 0, raw: 'A dog', sent: 'a dog', tokens: ['a', 'dog'] }],
}
const refs = (...rows: object[]): Files => ({
  'instances.json': JSON.stringify({ images: [cocoImage], annotations: [instance] }),
  'refs.json': JSON.stringify(rows),
  'refs(coglabel).p': Buffer.from('80025d2e', 'hex'),
})

const metadata = {
  'objects': [{ confidence: 1 }],
  'class-map': { '0': 'dog' },
  'type': 'groundtruth/object-detection',
  'human-annotated': 'no',
  'creation-date': '2026-01-01T00:00:00.000',
  'job-name': 'labeling-job/x',
}
const manifestRow = {
  'source-ref': 's3://b/1.jpg',
  'coglabel': {
    image_size: [{ width: 10, height: 10, depth: 3 }],
    annotations: [{ class_id: 0, top: 1, left: 1, width: 5, height: 5 }],
  },
  'coglabel-metadata': metadata,
}
const manifest = (change: object): Files => ({ 'x.jsonl': lines({ ...manifestRow, ...change }) })

const bedrockOf = (media_type: string) => ({
  recordId: 'ABCDEFGHIJK',
  modelInput: {
    anthropic_version: 'bedrock-2023-05-31',
    max_tokens: 256,
    messages: [
      {
        role: 'user',
        content: [{ type: 'image', source: { type: 'base64', media_type, data: 'AA==' } }],
      },
    ],
  },
})
const bedrock = bedrockOf('image/jpeg')

const rectangle = {
  id: 'b1',
  from_name: 'label',
  to_name: 'image',
  type: 'rectanglelabels',
  original_width: 200,
  original_height: 100,
  image_rotation: 0,
  value: { x: 1, y: 1, width: 50, height: 50, rectanglelabels: ['dog'] },
}
const studio = (
  parts: object[],
  { data = { image: 's3://b/1.jpg' }, score = 1 }: { data?: object; score?: number } = {},
): Files => ({
  'x.json': json({ data, predictions: [{ score, result: parts }] }),
  'label-config.xml': `<View><Image name="image" value="$image"/>
    <RectangleLabels name="label" toName="image"><Label value="dog"/></RectangleLabels>
    <TextArea name="words" toName="image" perRegion="true"/><TextArea name="caption" toName="image"/></View>`,
})
const studioTextOf = (value: object) => ({ ...rectangle, from_name: 'words', type: 'textarea', value })

const sample = {
  filepath: 'images/1.jpg',
  predictions: {
    _cls: 'Detections',
    detections: [{ _cls: 'Detection', label: 'dog', bounding_box: [0.1, 0.1, 0.5, 0.5] }],
  },
}
const samples = (change: object): Files => ({
  ...picture,
  'samples.json': JSON.stringify({ samples: [{ ...sample, ...change }] }),
})

const table = (change: object = {}) => {
  const types = { record_id: 'STRING', width: 'INT32', created_at: 'TIMESTAMP', output: 'STRING', ...change }
  const values: Record<string, unknown[]> = {
    STRING: ['x'],
    INT32: [1],
    DOUBLE: [1],
    TIMESTAMP: [new Date(0)],
  }
  const columnData = Object.entries(types).map(([name, type]) => ({
    name,
    type: type as 'STRING',
    data: values[type]!,
  }))
  const [root, ...flat] = schemaFromColumnData({ columnData })
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: [...columnData.map(({ name, data }) => ({ name, data })), { name: 'boxes', data: [[1]] }],
      schema: [
        { ...root!, num_children: root!.num_children! + 1 },
        ...flat,
        { name: 'boxes', repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'REQUIRED', type: 'DOUBLE' },
      ],
    }),
  )
}

export const brokenExports: Readonly<Record<string, Readonly<Record<string, Files>>>> = {
  'llava': {
    'id-is-text': llava({ id: 7 }),
    'image-is-one-path': llava({ image: ['images/1.jpg'] }),
    'image-once': llava({ conversations: talk('<image>\nWhat?', 'A dog in an <image>.') }),
    'turns-alternate': llava({
      conversations: [...talk('<image>\nWhat?', 'A dog.'), { from: 'human', value: 'Why?' }],
    }),
    'no-separator-in-a-text': llava({ conversations: talk('<image>\nWhat?', 'A dog.</s>') }),
    'no-empty-turn': llava({ conversations: talk('<image>\nWhat?', ' ') }),
  },
  'sharegpt4v': {
    'image-is-one-path': {
      'x.json': json({ id: 'a', image: 'images/gone.jpg', conversations: talk('What?\n<image>', 'A dog.') }),
    },
    'no-separator-in-a-text': {
      ...picture,
      'x.json': json({
        id: 'a',
        image: 'images/1.jpg',
        conversations: talk('What?\n<image>', 'A dog. ASSISTANT: A cat.'),
      }),
    },
    'one-question-one-caption': {
      ...picture,
      'x.json': json({ id: 'a', image: 'images/1.jpg', conversations: talk('What?', 'A dog.') }),
    },
  },
  'openai-chat': {
    'messages-only': { 'x.jsonl': lines({ messages: messages(asked, 'A dog.'), id: 'r1' }) },
    'image-in-user-message': { 'x.jsonl': lines({ messages: messages('What?', 'A dog.') }) },
    'image-format-and-size': { 'x.jsonl': lines({ messages: messages([part('images/1.jpg')], 'A dog.') }) },
    'image-in-rgb': { 'x.jsonl': lines({ messages: messages([part(greyPng)], 'A dog.') }) },
    'ends-with-assistant': { 'x.jsonl': lines({ messages: messages(asked) }) },
  },
  'openai-batch': {
    'custom-id-once': { 'x.requests-00000.jsonl': lines(request, request) },
    'image-of-a-known-type': {
      'x.requests-00000.jsonl': lines({
        ...request,
        body: { model: 'm', messages: messages([part('data:image/tiff;base64,AA==')]) },
      }),
    },
    'posts-to-one-endpoint': { 'x.requests-00000.jsonl': lines({ ...request, method: 'GET' }) },
    'file-within-limits': {
      'x.requests-00000.jsonl': lines(
        ...Array.from({ length: 50_001 }, (_, n) => ({ ...request, custom_id: `a-${n}` })),
      ),
    },
  },
  'llama-factory': {
    'images-is-a-list': factory({ images: 'images/1.jpg' }),
    'as-many-markers-as-images': factory({ messages: messages('What?', 'A dog.') }),
    'no-marker-of-what-is-not-there': factory({ messages: messages('<image>What?', 'A <video> tag.') }),
    'roles-alternate': factory({
      messages: [...messages('<image>What?', 'A dog.'), { role: 'user', content: 'Why?' }],
    }),
    'registered': { ...picture, 'x.json': json(factoryRow) },
  },
  'ms-swift': {
    'as-many-boxes-as-markers': swift({ messages: messages('<image>Find it.', '<ref-object><bbox><bbox>') }),
    'boxes-in-the-frame-they-name': swift({
      objects: { ref: ['a dog'], bbox: [[10, 10, 50, 50]], bbox_type: 'norm1' },
    }),
    'image-markers-within-images': swift({ images: [] }),
    'assistant-says-something': swift({
      messages: messages('<image>Find it.', '<ref-object><bbox>', 'And what else?', ''),
    }),
    'roles-alternate': swift({ messages: messages('<image>Find it.', '<ref-object><bbox>').toReversed() }),
  },
  'coco': {
    'ids-once': coco({ annotations: [instance, instance] }),
    'annotation-has-its-image': coco({ annotations: [{ ...instance, image_id: 2 }] }),
    'instance-is-complete': coco({ annotations: [{ ...instance, bbox: [1, 1, 0, 5] }] }),
    'segmentation-has-a-polygon': coco({ annotations: [{ ...instance, segmentation: [] }] }),
    'captions-without-categories': coco({ annotations: [{ id: 1, image_id: 1, caption: 'a dog' }] }),
    'image-opens': coco({ images: [{ ...cocoImage, file_name: 'images/gone.jpg' }] }),
  },
  'webdataset': {
    'members-of-a-sample-together': tar('0.jpg', '1.jpg', '0.json'),
    'one-image-extension': tar('0.jpg', '1.png'),
    'one-type-a-field': {
      'x-000000.tar': Buffer.concat([
        ...tarMember('0.jpg', Buffer.from('x')),
        ...tarMember('0.json', Buffer.from(JSON.stringify({ labels: [{ output: { tags: ['a'] } }] }))),
        tarEnd,
      ]),
    },
    'no-dot-in-key': tar('0.jpg', '1.a.jpg', '1.json'),
  },
  'sidecar': {
    'caption-is-one-line': { 'a/1.jpg': 'x', 'a/1.txt': 'a dog\nand a cat\n' },
    'image-extension-known': {
      'a/1.tiff': 'x',
      'a/1.json': JSON.stringify({ image: 'a/1.tiff', labels: [] }),
    },
    'image-beside': { 'a/1.jpg': 'x', 'a/2.json': JSON.stringify({ image: 'a/1.jpg', labels: [] }) },
  },
  'csv': {
    'no-cell-runs': { 'x.csv': 'image,answer\r\n1.jpg,=1+1\r\n' },
    'as-many-cells-as-columns': { 'x.csv': 'image,answer\r\n1.jpg\r\n' },
  },
  'cogvlm-sft': {
    'jpg-of-the-same-number': {
      's/labels/1.json': JSON.stringify({ captions: [{ role: 'caption', content: 'A dog.' }] }),
    },
    'captions-or-conversations': {
      's/images/1.jpg': 'x',
      's/labels_en/1.json': JSON.stringify({ conversations: messages('What?') }),
    },
    'labels-where-they-are-looked-for': {
      's/images/1.jpg': 'x',
      's/labels_en/1.json': JSON.stringify({ captions: [{ role: 'caption', content: 'A dog.' }] }),
    },
    'every-image-has-labels': {
      's/images/1.jpg': 'x',
      's/images/2.jpg': 'x',
      's/labels/1.json': JSON.stringify({ captions: [{ role: 'caption', content: 'A dog.' }] }),
    },
  },
  'refcoco': {
    'ids-once': refs(reference, reference),
    'reference-has-its-instance': refs({ ...reference, ann_id: 7 }),
    'sentences-have-tokens': refs({ ...reference, sent_ids: [0, 1] }),
    'pickle-for-refer': { ...refs(reference), 'refs(coglabel).p': '[]' },
    'segmentation-has-a-polygon': {
      ...refs(reference),
      'instances.json': JSON.stringify({
        images: [cocoImage],
        annotations: [{ ...instance, segmentation: [] }],
      }),
    },
  },
  'grit': {
    'spans-inside-caption': grit([0, 50, 0, 0, 0.5, 0.5, 1]),
    'spans-do-not-overlap': grit([0, 5, 0, 0, 0.5, 0.5, 1], [2, 9, 0, 0, 0.5, 0.5, 1]),
    'has-boxes': grit(),
  },
  'kosmos2': {
    'grounding-where-boxes-are': kosmos({ text: '<grounding> A dog.' }),
    'two-cells-a-box': kosmos({
      text: `<grounding> <phrase>a dog</phrase><object>${cell(100)}${cell(0)}</object>`,
    }),
    'phrase-without-less-than': kosmos({
      text: `<grounding> <phrase>a < b</phrase><object>${cell(0)}${cell(33)}</object>`,
    }),
    'image-opens': kosmos({ image: 'images/gone.jpg' }),
  },
  'ground-truth': {
    'source-ref-on-s3': manifest({ 'source-ref': 'file:///1.jpg' }),
    'attribute-has-metadata': manifest({ scene: 0 }),
    'boxes-match-metadata': manifest({ 'coglabel-metadata': { ...metadata, objects: [] } }),
    'review-has-a-name-of-its-own': manifest({
      'coglabel-verified': '0',
      'coglabel-verified-metadata': { ...metadata, type: 'groundtruth/label-verification' },
    }),
  },
  'bedrock-batch': {
    'record-id-once': { 'x.input-00000.jsonl': lines(bedrock, bedrock) },
    'model-input-is-a-request': {
      'x.input-00000.jsonl': lines({ ...bedrock, modelInput: { messages: [] } }),
    },
    'image-type-and-size': { 'x.input-00000.jsonl': lines(bedrockOf('image/tiff')) },
    'file-within-limits': {
      'x.input-00000.jsonl': lines(
        ...Array.from({ length: 50_001 }, (_, n) => ({
          ...bedrock,
          recordId: n.toString(36).padStart(11, '0'),
        })),
      ),
    },
  },
  'label-studio': {
    'result-names-its-controls': studio([rectangle, rectangle]),
    'config-takes-every-part': studio([
      { ...rectangle, value: { ...rectangle.value, rectanglelabels: ['a label of no configuration'] } },
    ]),
    'value-of-its-type': studio([rectangle, studioTextOf({ text: 'a bare string' })]),
    'score-from-0-to-1': studio([rectangle], { score: 87 }),
    'image-of-known-size': studio([{ ...rectangle, original_width: 0 }]),
    'boxes-in-percent': studio([{ ...rectangle, value: { ...rectangle.value, x: 90 } }]),
    'task-has-its-image': studio([rectangle], { data: { image: 'file:///home/me/1.jpg' } }),
  },
  'fiftyone': {
    'filepath-opens': samples({ filepath: 'images/gone.jpg' }),
    'metadata-leaves-fields-open': {
      ...samples({}),
      'metadata.json': JSON.stringify({ name: 'x', sample_fields: {} }),
    },
    'labels-name-their-class': samples({ caption: { label: 'a dog' } }),
    'boxes-are-fractions': samples({
      predictions: {
        _cls: 'Detections',
        detections: [{ _cls: 'Detection', label: 'dog', bounding_box: [10, 10, 50, 50] }],
      },
    }),
  },
  'parquet': {
    'same-columns-in-every-file': { 'a.parquet': table(), 'b.parquet': table({ more: 'STRING' }) },
    'typed-columns': { 'a.parquet': table({ width: 'DOUBLE' }) },
  },
  'jsonl': {
    'line-is-a-record': { 'x.jsonl': lines({ ...someRecord({ key: 'a' }), task: 7 }) },
    'only-labels': { 'x.jsonl': lines(someRecord({ key: 'a', status: 'failed' })) },
  },
}
