// Finding for each gold line what a run says about its image. It does not know what is right.
import type { Said } from '../dataset/metrics/grade-image.ts'
import { readByKey } from '../dataset/current-content.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { findBoxes } from '../gpu-worker/tasks/boxes.ts'
import { groundTask } from '../gpu-worker/tasks/ground.ts'
import type { GoldLine } from '../schemas/gold.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import { CaptionOutput, GroundedCaptionOutput, GroundOutput, QaOutput } from '../schemas/task-output.ts'

export type JoinedImage = {
  gold: GoldLine
  /** The run's records of this image, of the content that counts. */
  records: LabelRecord[]
  said: Said
}

/** One joined image for each gold line, in order; those that the run does not have get no records. */
export async function joinGold(store: ObjectStore, gold: readonly GoldLine[]): Promise<JoinedImage[]> {
  const byKey = await readByKey(store)
  const find = openKeyFinder([...byKey.keys()])
  return gold.map((line) => {
    const key = find(line.key)
    const records = key === null ? [] : (byKey.get(key) ?? [])
    return { gold: line, records, said: hear(records) }
  })
}

/**
 * A gold key is the record's key, or, where the same images were labelled from a folder above or below, the one
 * key that ends with it or that it ends with.
 */
function openKeyFinder(keys: readonly string[]): (goldKey: string) => string | null {
  const exact = new Set(keys)
  const byName = Map.groupBy(keys, (key) => key.split('/').at(-1) ?? key)
  return (goldKey) => {
    if (exact.has(goldKey)) return goldKey
    const near = (byName.get(goldKey.split('/').at(-1) ?? goldKey) ?? []).filter(
      (key) => key.endsWith(`/${goldKey}`) || goldKey.endsWith(`/${key}`),
    )
    return near.length === 1 ? (near[0] ?? null) : null
  }
}

/** Only what stands as a label counts: failed and filtered records said nothing. */
function hear(records: readonly LabelRecord[]): Said {
  let [caption, phrases]: [Said['caption'], Said['phrases']] = [null, null]
  const answers = new Map<string, string>()
  const boxes = new Map<string, GroundOutput['boxes']>()
  for (const { task, status, output, prompt } of records) {
    if (status !== 'ok') continue
    if (task === 'caption') caption = CaptionOutput.parse(output).text
    if (task === 'grounded-caption') phrases = GroundedCaptionOutput.parse(output).phrases
    if (task === 'qa') {
      for (const { question, answer } of QaOutput.parse(output).turns) {
        answers.set(question, answer)
        boxes.set(
          question,
          findBoxes(answer).groups.flatMap((group) => group.boxes),
        )
      }
    }
    if (task === 'ground') {
      const found = GroundOutput.safeParse(output).data
      // What was found for a whole caption answers no question of the gold.
      if (found === undefined) continue
      boxes.set(questionOfGround(found.phrase, prompt.template), found.boxes)
    }
  }
  return { caption, phrases, answers, boxes }
}

/** What the ground task asks for a phrase, from the task itself. */
function questionOfGround(phrase: string, template: LabelRecord['prompt']['template']): string {
  const [plan] = groundTask.plan({
    template,
    phrases: [phrase],
    questions: [],
    from: [],
    objects: [],
    regions: [],
  })
  return plan?.prompts[0]?.question ?? phrase
}
