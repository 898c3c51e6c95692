// The layers of the house as data: what each part may import. ARCHITECTURE.md draws the same table.
// To add an edge, change this file in a commit of its own that says why.

export type Layer = {
  /** Folders or files (`worker.ts`) that make up the layer; `dataset/seal` covers `dataset/seal.ts` too. */
  parts: readonly string[]
  /** Parts it may import besides itself: each part of a layer only itself, so leaves do not know each other. */
  mayImport: readonly string[]
  packages: readonly string[]
  /** False for code that must not reach the operating system. */
  builtins?: boolean
}

const leaves = ['model', 'image', 'tasks', 'tokenizer', 'engine'].map((name) => `gpu-worker/${name}`)
const adapters = ['dataset/stores', 'dataset/queues']
// Names and hashes everything in a dataset has: recordId, canonical JSON.
const identity = ['dataset/canonical-json', 'dataset/identity']
// One subsystem: sealing and reading know the part format, and all of them the run folder. Cycles are still caught.
const records = [
  'asked-again',
  'box-overlap',
  'capacity',
  'chain',
  'claims',
  'checkpoint',
  'cost',
  'current-content',
  'each-run',
  'emf',
  'events',
  'ids-again',
  'fetch-weights',
  'gc',
  'id-index',
  'id-run',
  'image-keys',
  'in-parallel',
  'ingest',
  'labels-view',
  'numbered-entries',
  'own-fields',
  'parse-json',
  'part-windows',
  'parts',
  'place',
  'place-sweeper',
  'plan',
  'plan-lists',
  'plan-sources',
  'push-weights',
  'read',
  'reconcile',
  'redrive',
  'run-control',
  'run-estimate',
  'run-folder',
  'run-list',
  'run-status',
  'pull',
  'scale',
  'seal',
  'sorted-rows',
  'verdicts',
  'upload',
  'seal-generation',
  'seal-state',
  'sealed-ids',
  'seen-images',
  'text-lines',
].map((name) => `dataset/${name}`)
const readers = ['dataset/exports', 'dataset/metrics', 'dataset/checks']
// What a process is to those that start it and to those that end it.
const processes = 'gpu-worker/process'
const story = ['gpu-worker/pipeline', 'gpu-worker/cloud']
const below = [
  'schemas',
  processes,
  ...leaves,
  ...adapters,
  ...identity,
  ...records,
  ...readers,
  'review',
  ...story,
]

export const layers: readonly Layer[] = [
  { parts: ['schemas'], mayImport: [], packages: ['zod'], builtins: false },
  { parts: [processes], mayImport: [], packages: [] },
  // A script that writes the JSON Schemas; nothing imports it.
  { parts: ['schemas/write-json-schemas.ts'], mayImport: ['schemas'], packages: ['zod'] },
  { parts: ['gpu-worker/model'], mayImport: ['schemas'], packages: ['zod', 'protobufjs'] },
  { parts: ['gpu-worker/image'], mayImport: ['schemas', processes], packages: ['zod', 'sharp'] },
  { parts: ['gpu-worker/tasks'], mayImport: ['schemas'], packages: ['zod'] },
  {
    parts: ['gpu-worker/tokenizer'],
    mayImport: ['schemas'],
    packages: ['zod', 'protobufjs', '@huggingface/tokenizers'],
  },
  {
    parts: ['gpu-worker/engine'],
    mayImport: ['schemas', 'gpu-worker/tokenizer', processes],
    packages: ['zod', 'onnxruntime-node'],
  },
  { parts: adapters, mayImport: ['schemas'], packages: ['zod', '@aws-sdk/client-s3', '@aws-sdk/client-sqs'] },
  { parts: identity, mayImport: ['schemas', ...identity], packages: ['zod'] },
  { parts: records, mayImport: ['schemas', ...adapters, ...identity, ...records], packages: ['zod'] },
  {
    parts: readers,
    mayImport: ['schemas', ...adapters, ...identity, ...records],
    packages: ['zod', 'hyparquet', 'hyparquet-writer'],
  },
  // Shows what exports write, so it has their conditions, their reading of outputs and their look-alikes. What a person
  // writes in a label's place must be a label of its task, and tasks know what those are; they are plain functions.
  {
    parts: ['review'],
    mayImport: ['schemas', 'gpu-worker/tasks', ...adapters, ...identity, ...records, 'dataset/exports'],
    packages: ['zod', 'hono'],
  },
  {
    parts: ['gpu-worker/pipeline'],
    mayImport: ['schemas', ...leaves, ...adapters, ...identity, ...records, 'dataset/checks'],
    packages: ['zod'],
  },
  // What only the cloud's worker has: metrics, its log, signals of ECS and EC2, settings made into ports.
  {
    parts: ['gpu-worker/cloud'],
    mayImport: ['schemas', ...adapters, ...identity, ...records, 'gpu-worker/pipeline'],
    packages: ['zod'],
  },
  { parts: ['gpu-worker/worker.ts'], mayImport: below, packages: ['zod'] },
  // S3 and SQS in one process, for tests and for the cloud on a laptop. It holds bytes and messages, no labels.
  { parts: ['emulator'], mayImport: ['schemas', 'dataset/queues'], packages: ['zod'] },
  {
    parts: ['cli'],
    mayImport: [...below, 'cli/dev', 'cli/account'],
    packages: ['zod', 'yaml', '@hono/node-server'],
  },
  // What only doctor and teardown ask AWS, a service a file.
  {
    parts: ['cli/account'],
    mayImport: ['schemas'],
    packages: [
      'zod',
      '@aws-sdk/client-sts',
      '@aws-sdk/client-service-quotas',
      '@aws-sdk/client-cloudformation',
      '@aws-sdk/client-ecs',
      '@aws-sdk/client-auto-scaling',
    ],
  },
  // Of all that ships only this verb starts the emulator.
  { parts: ['cli/dev'], mayImport: [...below, 'cli', 'emulator', 'gpu-worker/worker.ts'], packages: ['zod'] },
  // Nothing native; what an image's own questions come to is the tasks' to know, and they are plain functions.
  {
    parts: ['functions'],
    mayImport: ['schemas', 'gpu-worker/tasks', ...adapters, ...identity, ...records, ...readers, 'review'],
    packages: ['zod', 'hono', '@aws-sdk/client-ecs', '@aws-sdk/client-lambda'],
  },
  { parts: ['infra'], mayImport: ['schemas'], packages: ['aws-cdk-lib', 'constructs', 'cdk-nag', 'zod'] },
  // Scripts a person runs from a checkout; nothing imports them. They measure with the tests' doubles and storms.
  { parts: ['bench'], mayImport: [...below, 'cli', 'emulator', 'examples', 'tests'], packages: ['zod'] },
  { parts: ['training'], mayImport: below, packages: ['zod', 'sharp'] },
  // Makes the sample images and the README's picture; besides shapes it needs the pictures of gpu-worker/image only.
  { parts: ['examples'], mayImport: ['schemas', 'gpu-worker/image'], packages: ['zod', 'sharp'] },
  { parts: ['tests'], mayImport: ['*'], packages: ['*'] },
  { parts: ['vitest.config.ts'], mayImport: [], packages: ['vitest'] },
]

/** Folders that hold no TypeScript: listed so that a new one is a decision. */
export const foldersWithoutCode = ['models', '.ci', 'docs']

/** The only files that may import a package, native or wire-bound. A `/` at the end means any file of the folder. */
export const soleImporters: Record<string, readonly string[]> = {
  'onnxruntime-node': ['gpu-worker/engine/session.ts'],
  // draw.ts puts labels over images that decode.ts decoded, encode.ts makes files of them, thumbnail.ts small ones. The last two rasterise icons, for training and for scenes
  // with known truth. Only decode.ts opens an image of a user.
  'sharp': [
    'gpu-worker/image/decode.ts',
    'gpu-worker/image/draw.ts',
    'gpu-worker/image/encode.ts',
    'gpu-worker/image/thumbnail.ts',
    'training/icons.ts',
    'examples/scenes/render.ts',
  ],
  'protobufjs': ['gpu-worker/model/onnx.ts', 'gpu-worker/tokenizer/sentencepiece-model.ts'],
  '@huggingface/tokenizers': ['gpu-worker/tokenizer/'],
  'hyparquet': ['dataset/exports/parquet.ts'],
  'hyparquet-writer': ['dataset/exports/parquet.ts'],
  'yaml': ['cli/task-file.ts'],
  '@aws-sdk/client-s3': ['dataset/stores/s3.ts'],
  '@aws-sdk/client-sqs': ['dataset/queues/sqs.ts'],
  // The scaler looks, teardown changes: neither may load the other's root.
  '@aws-sdk/client-ecs': ['functions/ecs-services.ts', 'cli/account/workers.ts'],
  '@aws-sdk/client-sts': ['cli/account/identity.ts'],
  '@aws-sdk/client-service-quotas': ['cli/account/quotas.ts'],
  '@aws-sdk/client-cloudformation': ['cli/account/stacks.ts'],
  '@aws-sdk/client-auto-scaling': ['cli/account/groups.ts'],
}

/** What functions/ may not reach, through any number of imports. */
export const nativeParts = [
  'gpu-worker/model',
  'gpu-worker/image',
  'gpu-worker/engine',
  'gpu-worker/pipeline',
  'gpu-worker/cloud',
]
export const nativePackages = ['onnxruntime-node', 'sharp']

/** Who may read process.env: the roots parse settings once, tests and scripts stand outside. */
export const environmentReaders = ['cli', 'gpu-worker/worker.ts', 'functions', 'tests', 'bench', 'training']

/** True when `path` is the part, lies in it, or is the part written as one file. */
export function isInPart(path: string, part: string): boolean {
  return path === part || path.startsWith(`${part.replace(/\/$/, '')}/`) || path === `${part}.ts`
}

/** The part of the table a file belongs to; the longest name wins. */
export function partOf(path: string): { part: string; layer: Layer } | undefined {
  const found = layers.flatMap((layer) => layer.parts.map((part) => ({ part, layer })))
  return found.filter(({ part }) => isInPart(path, part)).toSorted((a, b) => b.part.length - a.part.length)[0]
}
