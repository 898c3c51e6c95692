// Gathers finished records into parts: by number of images or by age, whichever comes first. It does not know models.
import { writePart } from '../../dataset/parts.ts'
import { type Clock, systemClock } from '../../dataset/queues/clock.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'

export type PartLimits = { imagesPerPart: number; partAgeMs: number }

/** Told once what became of an image's records: null when they are durable, or what writing threw. */
export type Settled = (error: Error | null) => void

type PartWriterOptions = {
  store: ObjectStore
  limits: PartLimits
  onPart: (part: { key: string; records: number }) => void
  clock?: Pick<Clock, 'sleep'>
}

type HeldImage = { records: readonly LabelRecord[]; settled: Settled }

/** A class, because it holds the records that are not durable yet. */
export class PartWriter {
  readonly #options: PartWriterOptions
  #images: HeldImage[] = []
  #age: AbortController | undefined
  /** Writes follow each other. */
  #writing: Promise<void> = Promise.resolve()
  #failure: Error | null = null

  constructor(options: PartWriterOptions) {
    this.#options = options
  }

  /**
   * Takes one image's records; waits when a part is full, until it is written. Whoever gives `settled` deals with a
   * failure; one that nobody is told of fails every later `add` and `flush`.
   */
  async add(records: readonly LabelRecord[], settled: Settled = this.#remember): Promise<void> {
    const { imagesPerPart, partAgeMs } = this.#options.limits
    this.#images.push({ records, settled })
    if (this.#images.length >= imagesPerPart) await this.flush()
    else if (this.#age === undefined) void this.#flushAfter(partAgeMs)
  }

  /** When it returns, what was taken so far is durable. Throws what writing threw, also earlier, unless it was told. */
  async flush(): Promise<void> {
    this.#age?.abort()
    this.#age = undefined
    const images = this.#images
    this.#images = []
    if (images.length > 0) this.#writing = this.#writing.then(async () => await this.#write(images))
    await this.#writing
    if (this.#failure !== null) throw this.#failure
  }

  readonly #remember: Settled = (error) => {
    this.#failure ??= error
  }

  async #flushAfter(durationMs: number): Promise<void> {
    const age = new AbortController()
    this.#age = age
    await (this.#options.clock ?? systemClock).sleep(durationMs, age.signal)
    // What it throws is remembered and thrown again by the next call that somebody waits for.
    if (!age.signal.aborted) await this.flush().catch(() => {})
  }

  /** Never rejects: each image is told. */
  async #write(images: readonly HeldImage[]): Promise<void> {
    const { store, onPart } = this.#options
    const records = images.flatMap((image) => image.records)
    let failure: Error | null = this.#failure
    try {
      if (failure === null) onPart({ key: await writePart(store, records), records: records.length })
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
    }
    for (const { settled } of images) settled(failure)
  }
}
