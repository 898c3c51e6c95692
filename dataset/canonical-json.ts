// One spelling for one value: JSON with sorted keys and no spaces, for hashing. It does not know what is hashed.
import { hash } from 'node:crypto'

/** JSON text of a value with object keys sorted by code unit; undefined fields are left out. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner
    return Object.fromEntries(Object.entries(inner).toSorted(([left], [right]) => (left < right ? -1 : 1)))
  })
}

/** sha256 of text or bytes, as 64 hex digits. */
export function sha256Hex(value: string | Uint8Array): string {
  return hash('sha256', value, 'hex')
}
