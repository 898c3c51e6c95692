// Gathers finished records into parts: by number of images or by age, whichever comes first. It does not know models.
import { writePart } from '../../dataset/parts.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'

export type PartLimits = { imagesPerPart: number; partAgeMs: number }

type PartWriterOptions = {
  store: ObjectStore
  limits: PartLimits
  onPart: (part: { key: string; records: number }) => void
}

/** A class, because it holds the records that are not durable yet. */
export class PartWriter {
  readonly #options: PartWriterOptions
  #records: LabelRecord[] = []
  #images = 0
  #timer: NodeJS.Timeout | undefined
  /** Writes follow each other; a failed one fails everything after it. */
  #writing: Promise<void> = Promise.resolve()

  constructor(options: PartWriterOptions) {
    this.#options = options
  }

  /** Takes one image's records; waits when a part is full, until it is durable. */
  async add(records: readonly LabelRecord[]): Promise<void> {
    const { imagesPerPart, partAgeMs } = this.#options.limits
    this.#records.push(...records)
    this.#images += 1
    if (this.#images >= imagesPerPart) await this.flush()
    else this.#timer ??= setTimeout(() => void this.flush().catch(() => {}), partAgeMs)
  }

  /** When it returns, all records taken so far are durable. Throws what writing threw, also in an earlier flush. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const records = this.#records
    this.#records = []
    this.#images = 0
    if (records.length > 0) this.#writing = this.#writing.then(async () => await this.#write(records))
    await this.#writing
  }

  async #write(records: readonly LabelRecord[]): Promise<void> {
    const { store, onPart } = this.#options
    const key = await writePart(store, records)
    onPart({ key, records: records.length })
  }
}
