// Verdicts of a run: written create-only, read as the newest of each record. It does not know review or exports.
import { UserError } from '../schemas/errors.ts'
import { Verdict, VerdictKey, verdictsPrefix } from '../schemas/verdict.ts'
import { canonicalJson, sha256Hex } from './canonical-json.ts'
import { mapInParallel } from './in-parallel.ts'
import { compareKeys, listAll, type ObjectStore } from './stores/object-store.ts'

/** Objects read at once. */
const parallelReads = 16

/** Adds a verdict; writing the same one again changes nothing. Returns its key. */
export async function writeVerdict(store: ObjectStore, verdict: Verdict): Promise<string> {
  const text = canonicalJson(Verdict.parse(verdict))
  const key = verdictKey(verdict, text)
  await store.putIfAbsent(key, Buffer.from(`${text}\n`))
  return key
}

/** The newest verdict of each record, withdrawn ones left out. Keys order a record's verdicts by time, then by hash. */
export async function readVerdicts(store: ObjectStore): Promise<Map<string, Verdict>> {
  const log = openVerdictLog(store)
  await log.refresh()
  return new Map([...log.newest].filter(([, { verdict }]) => verdict !== 'withdraw'))
}

export type VerdictLog = {
  /** By recordId, withdrawals too, as of the last refresh. */
  readonly newest: ReadonlyMap<string, Verdict>
  /** Takes in what others wrote since, of one record or of all; reads only verdicts that are new. */
  refresh(recordId?: string): Promise<void>
  /** Durable when it returns. */
  add(verdict: Verdict): Promise<void>
}

/** Verdicts while they are being given. Nothing is read before the first refresh. */
export function openVerdictLog(store: ObjectStore): VerdictLog {
  const keys = new Map<string, string>()
  const newest = new Map<string, Verdict>()
  const take = (key: string, verdict: Verdict) => {
    const known = keys.get(verdict.recordId)
    if (known !== undefined && compareKeys(known, key) >= 0) return
    keys.set(verdict.recordId, key)
    newest.set(verdict.recordId, verdict)
  }
  return {
    newest,
    async refresh(wanted) {
      const latest = new Map<string, string>()
      const prefix = wanted === undefined ? verdictsPrefix : prefixOf(wanted)
      for await (const { key } of listAll(store, { prefix })) {
        if (!VerdictKey.safeParse(key).success) continue
        const recordId = key.slice(verdictsPrefix.length + 3).slice(0, 32)
        const known = latest.get(recordId) ?? keys.get(recordId)
        if (known === undefined || compareKeys(known, key) < 0) latest.set(recordId, key)
      }
      const found = await mapInParallel([...latest.values()], { max: parallelReads }, async (key) => ({
        key,
        verdict: await readVerdict(store, key),
      }))
      for (const { key, verdict } of found) take(key, verdict)
    },
    async add(verdict) {
      take(await writeVerdict(store, verdict), verdict)
    },
  }
}

function prefixOf(recordId: string): string {
  return `${verdictsPrefix}${recordId.slice(0, 2)}/${recordId}-`
}

function verdictKey({ recordId, at }: Verdict, text: string): string {
  const time = String(Date.parse(at)).padStart(13, '0')
  return `${prefixOf(recordId)}${time}-${sha256Hex(text).slice(0, 8)}.json`
}

async function readVerdict(store: ObjectStore, key: string): Promise<Verdict> {
  const bytes = await store.get(key)
  try {
    // What was cut off says nothing, and what it said is not to be guessed: a rejection must not be lost in silence.
    return Verdict.parse(JSON.parse(Buffer.from(bytes ?? []).toString('utf8')))
  } catch (error) {
    throw new UserError(
      `${store.uri}${key} has ${bytes?.length ?? 0} bytes and is no verdict this version reads; restore the file, or remove it and judge that record again`,
      {
        cause: error,
      },
    )
  }
}
