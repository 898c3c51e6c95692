// Reading JSON that anybody may have written: what is none is null, for a schema to turn down. It does not know which.

/** The value of a text or of its bytes in UTF-8; null where it is not JSON, or where there is nothing. */
export function parseJson(text: string | Uint8Array | null): unknown {
  try {
    return JSON.parse(typeof text === 'string' ? text : Buffer.from(text ?? []).toString('utf8'))
  } catch {
    return null
  }
}
