// One breaking export for each loading rule: all else about it is right, so that only this rule speaks.
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
  segmentation: [],
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

export const brokenExports: Readonly<Record<string, Readonly<Record<string, Files>>>> = {
  'llava': {
    'id-is-text': llava({ id: 7 }),
    'image-is-one-path': llava({ image: ['images/1.jpg'] }),
    'image-once': llava({ conversations: talk('<image>\nWhat?', 'A dog in an <image>.') }),
    'turns-alternate': llava({
      conversations: [...talk('<image>\nWhat?', 'A dog.'), { from: 'human', value: 'Why?' }],
    }),
    'no-empty-turn': llava({ conversations: talk('<image>\nWhat?', ' ') }),
  },
  'sharegpt4v': {
    'image-is-one-path': {
      'x.json': json({ id: 'a', image: 'images/gone.jpg', conversations: talk('What?\n<image>', 'A dog.') }),
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
    'ends-with-assistant': { 'x.jsonl': lines({ messages: messages(asked) }) },
  },
  'openai-batch': {
    'custom-id-once': { 'x.requests-00000.jsonl': lines(request, request) },
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
    'roles-alternate': swift({ messages: messages('<image>Find it.', '<ref-object><bbox>').toReversed() }),
  },
  'coco': {
    'ids-once': coco({ annotations: [instance, instance] }),
    'annotation-has-its-image': coco({ annotations: [{ ...instance, image_id: 2 }] }),
    'instance-is-complete': coco({ annotations: [{ ...instance, bbox: [1, 1, 0, 5] }] }),
    'image-opens': coco({ images: [{ ...cocoImage, file_name: 'images/gone.jpg' }] }),
  },
  'webdataset': {
    'members-of-a-sample-together': tar('0.jpg', '1.jpg', '0.json'),
    'one-image-extension': tar('0.jpg', '1.png'),
    'no-dot-in-key': tar('0.jpg', '1.a.jpg', '1.json'),
  },
  'sidecar': {
    'caption-is-one-line': { 'a/1.jpg': 'x', 'a/1.txt': 'a dog\nand a cat\n' },
    'image-beside': { 'a/1.jpg': 'x', 'a/2.json': JSON.stringify({ image: 'a/1.jpg', labels: [] }) },
  },
  'csv': {
    'no-cell-runs': { 'x.csv': 'image,answer\r\n1.jpg,=1+1\r\n' },
    'as-many-cells-as-columns': { 'x.csv': 'image,answer\r\n1.jpg\r\n' },
  },
}
