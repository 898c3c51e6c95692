// Verdicts of a run: written create-only, read as the newest of each record. It does not know review or exports.
import { UserError } from '../schemas/errors.ts'
import { Verdict, VerdictKey, verdictsPrefix } from '../schemas/verdict.ts'
import { canonicalJson, sha256Hex } from './canonical-json.ts'
import { compareKeys, listAll, type ObjectStore } from './stores/object-store.ts'

/** Objects read at once. */
const parallelReads = 16

/** Adds a verdict; writing the same one again changes nothing. Returns its key. */
export async function writeVerdict(store: ObjectStore, verdict: Verdict): Promise<string> {
  const text = canonicalJson(Verdict.parse(verdict))
  const time = String(Date.parse(verdict.at)).padStart(13, '0')
  const hash = sha256Hex(text).slice(0, 8)
  const key = `${verdictsPrefix}${verdict.recordId.slice(0, 2)}/${verdict.recordId}-${time}-${hash}.json`
  await store.putIfAbsent(key, Buffer.from(`${text}\n`))
  return key
}

/** The newest verdict of each record, withdrawn ones left out. Keys order a record's verdicts by time, then by hash. */
export async function readVerdicts(store: ObjectStore): Promise<Map<string, Verdict>> {
  const newest = new Map<string, string>()
  for await (const { key } of listAll(store, { prefix: verdictsPrefix })) {
    if (!VerdictKey.safeParse(key).success) continue
    const recordId = key.slice(verdictsPrefix.length + 3).slice(0, 32)
    const known = newest.get(recordId)
    if (known === undefined || compareKeys(known, key) < 0) newest.set(recordId, key)
  }
  const keys = [...newest.values()]
  const verdicts = new Map<string, Verdict>()
  for (let at = 0; at < keys.length; at += parallelReads) {
    const batch = keys.slice(at, at + parallelReads)
    for (const verdict of await Promise.all(batch.map(async (key) => await readVerdict(store, key))))
      if (verdict.verdict !== 'withdraw') verdicts.set(verdict.recordId, verdict)
  }
  return verdicts
}

async function readVerdict(store: ObjectStore, key: string): Promise<Verdict> {
  const bytes = await store.get(key)
  try {
    return Verdict.parse(JSON.parse(Buffer.from(bytes ?? []).toString('utf8')))
  } catch (error) {
    throw new UserError(`${store.uri}${key} is no verdict this version reads; restore or remove the file`, {
      cause: error,
    })
  }
}
