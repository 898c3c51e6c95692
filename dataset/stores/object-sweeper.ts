// Deleting objects: a port of its own, which only gc is given. Workers, sealers and readers cannot delete.
// It does not know what may go.

export type AgedObject = {
  key: string
  sizeBytes: number
  /** When the store took it, by the store's own clock. */
  modifiedAtMs: number
}

/** The same place as an ObjectStore. Implementations pass tests/contracts/object-sweeper.ts. */
export type ObjectSweeper = {
  /** As of the store: ends in a slash. */
  readonly uri: string
  /** As a store lists, with ages. */
  list(page: {
    prefix: string
    after?: string | undefined
    limit?: number
  }): Promise<{ objects: AgedObject[]; next: string | null }>
  /** Deletes objects; one that is gone already is no error. */
  remove(keys: readonly string[]): Promise<void>
}

/** Every object under a prefix with its age, page by page. */
export async function* listAged(sweeper: ObjectSweeper, prefix: string): AsyncGenerator<AgedObject> {
  let after: string | undefined
  for (;;) {
    const page = await sweeper.list({ prefix, after })
    yield* page.objects
    if (page.next === null) return
    after = page.next
  }
}
