// SageMaker Ground Truth's augmented manifest: a line an image, boxes and caption as label attributes, and what people
// decided as verification and adjustment attributes. Rekognition Custom Labels reads the boxes.
import { z } from 'zod'
import type { LabelRecord } from '../../schemas/label-record.ts'
import type { Box, TaskOutput } from '../../schemas/task-output.ts'
import { phraseName } from './core/category.ts'
import { captionOf, contentOf } from './core/content.ts'
import type { ExportImage, ReadLabel, ReadRegion, Review, WriterContext } from './core/format.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, text } from './core/rules.ts'

const boxesName = 'coglabel'
const captionName = 'coglabel-caption'
const verifiedName = 'coglabel-verified'
const adjustedName = 'coglabel-adjusted'

const Boxes = z.object({
  image_size: z.array(z.object({ width: z.int(), height: z.int(), depth: z.int() })).length(1),
  annotations: z.array(
    z.object({ class_id: z.int(), top: z.int(), left: z.int(), width: z.int(), height: z.int() }),
  ),
})
const BoxesMetadata = z.object({ 'class-map': z.record(z.string(), z.string()) })
const Row = z.object({
  'source-ref': z.string(),
  [boxesName]: Boxes.optional(),
  [`${boxesName}-metadata`]: BoxesMetadata.optional(),
  [captionName]: z.string().optional(),
  [adjustedName]: Boxes.optional(),
  [`${adjustedName}-metadata`]: BoxesMetadata.optional(),
})

const guide = 'docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html'
const verifying = 'docs.aws.amazon.com/sagemaker/latest/dg/sms-verification-data.html'
const rekognition =
  'docs.aws.amazon.com/rekognition/latest/customlabels-dg/md-create-manifest-file-object-detection.html'

export const groundTruth = rowFormat({
  name: 'ground-truth',
  summary: 'Ground Truth augmented manifest, with verification and adjustment',
  imageModes: ['reference'],
  extension: 'jsonl',
  lost: [
    'boxes to whole pixels, and their words: they have a class, the phrase without its article, in lower case',
    'questions and answers, and that something was looked for and not found',
    'all texts of an image but its caption',
    'confidence: all are 1, the model gives none',
    'the recordId and everything else of a record',
  ],
  async rowsOf(image, context) {
    const before = regionBoxes(
      image.records.map((record) => ({ task: record.task, output: outputBefore(record, image) })),
    )
    const after = regionBoxes(image.records)
    const caption = captionOf(image.records)
    const edits = boxReviews(image).filter(({ verdict }) => verdict === 'edit')
    const adjustedAt =
      edits
        .map(({ at }) => at)
        .toSorted()
        .at(-1) ?? null
    const row = {
      'source-ref': await image.place(),
      ...(before.length === 0 ? {} : boxesOf(before, { image, context, name: boxesName, adjustedAt: null })),
      ...(caption === null ? {} : captionAttribute(caption, context)),
      ...verification(boxReviews(image)),
      ...(adjustedAt === null ? {} : boxesOf(after, { image, context, name: adjustedName, adjustedAt })),
    }
    return Object.keys(row).length === 1 ? [] : [row]
  },
  readRow(value) {
    const row = Row.parse(value)
    const [boxes, metadata] =
      row[adjustedName] === undefined
        ? [row[boxesName], row[`${boxesName}-metadata`]]
        : [row[adjustedName], row[`${adjustedName}-metadata`]]
    const caption = row[captionName]
    const labels: ReadLabel[] = []
    if (caption !== undefined) labels.push({ recordId: null, text: caption, turns: [], regions: [] })
    const size = boxes?.image_size[0]
    if (boxes !== undefined && size !== undefined)
      labels.push({
        recordId: null,
        text: null,
        turns: [],
        regions: readBoxes(boxes, metadata?.['class-map'] ?? {}),
      })
    return { image: row['source-ref'], width: size?.width ?? null, height: size?.height ?? null, labels }
  },
  rules: [
    {
      name: 'source-ref-on-s3',
      says: 'source-ref is the image as an s3:// URI',
      source: guide,
      problem: (row) =>
        text(field(row.value, 'source-ref')).startsWith('s3://')
          ? null
          : `${row.file}, line ${row.number}: ${JSON.stringify(field(row.value, 'source-ref'))}`,
    },
    {
      name: 'attribute-has-metadata',
      says: 'every label attribute has NAME-metadata with type, human-annotated, creation-date and job-name',
      source: guide,
      problem(row) {
        const names = attributesOf(row.value)
        const wrong = names.find((name) => {
          const metadata = field(row.value, `${name}-metadata`)
          const needed = ['type', 'human-annotated', 'creation-date', 'job-name']
          return needed.some((one) => text(field(metadata, one)) === '')
        })
        return wrong === undefined ? null : `${row.file}, line ${row.number}: ${wrong}`
      },
    },
    {
      name: 'boxes-match-metadata',
      says: 'image_size is a list of one, objects has an entry for each annotation, and class-map has each class_id',
      source: rekognition,
      problem(row) {
        const wrong = attributesOf(row.value).find((name) => {
          const boxes = field(row.value, name)
          const annotations = field(boxes, 'annotations')
          if (annotations === undefined) return false
          const metadata = field(row.value, `${name}-metadata`)
          const classes = Object.keys(Object(field(metadata, 'class-map')))
          return (
            list(field(boxes, 'image_size')).length !== 1 ||
            list(field(metadata, 'objects')).length !== list(annotations).length ||
            list(annotations).some((one) => !classes.includes(String(Number(field(one, 'class_id')))))
          )
        })
        return wrong === undefined ? null : `${row.file}, line ${row.number}: ${wrong}`
      },
    },
    {
      name: 'review-has-a-name-of-its-own',
      says: 'a verification has a class-name, an adjustment an adjustment-status, each in an attribute beside the original',
      source: verifying,
      problem(row) {
        const wrong = attributesOf(row.value).find((name) => {
          const metadata = field(row.value, `${name}-metadata`)
          const isVerification = field(metadata, 'type') === 'groundtruth/label-verification'
          if (isVerification) return text(field(metadata, 'class-name')) === ''
          return name === adjustedName && text(field(metadata, 'adjustment-status')) === ''
        })
        return wrong === undefined ? null : `${row.file}, line ${row.number}: ${wrong}`
      },
    },
  ],
})

/** What people decided about the boxes of an image, as a manifest's line says it. */
export type ManifestReview = {
  image: string
  verdict: 'accept' | 'reject' | 'edit'
  comment: string | null
  at: string
  /** With an edit: the boxes as they were adjusted. */
  regions: ReadRegion[]
}

/** The verification and adjustment of a line, under whatever attribute names. */
export function readReviews(value: unknown): ManifestReview[] {
  const image = text(field(value, 'source-ref'))
  return attributesOf(value).flatMap((name): ManifestReview[] => {
    const metadata = field(value, `${name}-metadata`)
    const at = text(field(metadata, 'creation-date'))
    const comment = text(field(list(field(metadata, 'worker-feedback'))[0], 'comment')) || null
    if (field(metadata, 'type') === 'groundtruth/label-verification') {
      const isGood = text(field(metadata, 'class-name')).toLowerCase() === 'good'
      return [{ image, verdict: isGood ? 'accept' : 'reject', comment, at, regions: [] }]
    }
    if (field(metadata, 'adjustment-status') !== 'adjusted') return []
    const classes = BoxesMetadata.parse(metadata)['class-map']
    return [
      { image, verdict: 'edit', comment, at, regions: readBoxes(Boxes.parse(field(value, name)), classes) },
    ]
  })
}

type ClassedBox = { name: string; box: Box }

function regionBoxes(said: readonly { task: string; output: TaskOutput | null }[]): ClassedBox[] {
  return said.flatMap(({ task, output }) =>
    output === null
      ? []
      : contentOf(output, { questions: [], task }).regions.flatMap(({ text: words, boxes }) =>
          boxes.map((box) => ({ name: phraseName(words), box })),
        ),
  )
}

function outputBefore({ recordId, output }: LabelRecord, { reviews }: ExportImage): TaskOutput | null {
  const edit = reviews.find((review) => review.recordId === recordId && review.verdict === 'edit')
  return edit === undefined ? output : edit.before
}

/** Reviews of records that have boxes now, or had. */
function boxReviews({ reviews }: ExportImage): Review[] {
  return reviews.filter(
    ({ task, before, after }) => regionBoxes([before, after].map((output) => ({ task, output }))).length > 0,
  )
}

type BoxesOptions = {
  image: ExportImage
  context: WriterContext
  name: string
  /** When a person changed them last; null for those of the model. */
  adjustedAt: string | null
}

function boxesOf(boxes: readonly ClassedBox[], { image, context, name, adjustedAt }: BoxesOptions): object {
  const { width, height } = image
  const classes = [...new Set(boxes.map((one) => one.name))]
  const annotations = boxes.map(({ name: className, box: [x0, y0, x1, y1] }) => {
    // A box at the very edge keeps a pixel inside.
    const left = Math.min(width - 1, Math.round(x0 * width))
    const top = Math.min(height - 1, Math.round(y0 * height))
    return {
      class_id: classes.indexOf(className),
      top,
      left,
      width: Math.max(1, Math.round(x1 * width) - left),
      height: Math.max(1, Math.round(y1 * height) - top),
    }
  })
  return {
    [name]: { image_size: [{ width, height, depth: 3 }], annotations },
    [`${name}-metadata`]: {
      'objects': boxes.map(() => ({ confidence: 1 })),
      'class-map': Object.fromEntries(classes.map((one, index) => [String(index), one])),
      'type': 'groundtruth/object-detection',
      'human-annotated': adjustedAt === null ? 'no' : 'yes',
      ...(adjustedAt === null ? {} : { 'adjustment-status': 'adjusted' }),
      ...provenance(context),
      ...(adjustedAt === null ? {} : { 'creation-date': awsTime(adjustedAt) }),
    },
  }
}

function captionAttribute(caption: string, context: WriterContext): object {
  const metadata = { 'type': 'groundtruth/custom', 'human-annotated': 'no', ...provenance(context) }
  return { [captionName]: caption, [`${captionName}-metadata`]: metadata }
}

function verification(reviews: readonly Review[]): object {
  const decided = reviews.filter(({ verdict }) => verdict !== 'edit')
  const newest = decided.toSorted((left, right) => (left.at < right.at ? 1 : -1))[0]
  if (newest === undefined) return {}
  const isGood = decided.every(({ verdict }) => verdict === 'accept')
  const metadata = {
    'class-name': isGood ? 'good' : 'bad',
    'confidence': 1,
    'type': 'groundtruth/label-verification',
    'human-annotated': 'yes',
    'creation-date': awsTime(newest.at),
    'job-name': `labeling-job/${verifiedName}`,
    ...(newest.comment === null ? {} : { 'worker-feedback': [{ comment: newest.comment }] }),
  }
  return { [verifiedName]: isGood ? '0' : '1', [`${verifiedName}-metadata`]: metadata }
}

function provenance({ createdAt, modelName }: WriterContext): {
  'creation-date': string
  'job-name': string
} {
  return {
    'creation-date': awsTime(createdAt),
    'job-name': `labeling-job/${modelName.replaceAll(/[^A-Za-z0-9-]+/g, '-')}`,
  }
}

/** Their times have no zone. */
function awsTime(at: string): string {
  return at.replace(/Z$/, '')
}

function readBoxes(
  { image_size: sizes, annotations }: z.infer<typeof Boxes>,
  classes: Record<string, string>,
): ReadRegion[] {
  const { width = 1, height = 1 } = sizes[0] ?? {}
  return annotations.map((one) => ({
    text: classes[String(one.class_id)] ?? null,
    start: null,
    end: null,
    boxes: [
      [one.left / width, one.top / height, (one.left + one.width) / width, (one.top + one.height) / height],
    ],
  }))
}

function attributesOf(row: unknown): string[] {
  return Object.keys(Object(row)).filter((name) => name !== 'source-ref' && !name.endsWith('-metadata'))
}
