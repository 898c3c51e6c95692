// The checksums of S3 that Node has no code for, a table lookup a byte. It does not know what they are of.

/** Castagnoli's polynomial (RFC 3720, B.4), reflected. */
const crc32cTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ (value & 1 ? 0x82f63b78 : 0)
  return value
})

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (crc >>> 8) ^ (crc32cTable[(crc ^ byte) & 255] ?? 0)
  return (crc ^ 0xffffffff) >>> 0
}

/** The polynomial of NVM Express (command set specification, 64b CRC), reflected; its halves in 32 bits each. */
const crc64Polynomial = 0x9a6c9329ac4bc9b5n
const crc64Tables = (() => {
  const [high, low] = [new Uint32Array(256), new Uint32Array(256)]
  for (let byte = 0; byte < 256; byte += 1) {
    let value = BigInt(byte)
    for (let bit = 0; bit < 8; bit += 1) value = (value >> 1n) ^ (value & 1n ? crc64Polynomial : 0n)
    high[byte] = Number(value >> 32n)
    low[byte] = Number(value & 0xffffffffn)
  }
  return { high, low }
})()

/** What the AWS CLI sends. Two 32-bit halves, because BigInt arithmetic for each byte would take seconds. */
export function crc64nvme(bytes: Uint8Array): bigint {
  let [high, low] = [0xffffffff, 0xffffffff]
  for (const byte of bytes) {
    const at = (low ^ byte) & 255
    low = ((low >>> 8) | (high << 24)) ^ (crc64Tables.low[at] ?? 0)
    high = (high >>> 8) ^ (crc64Tables.high[at] ?? 0)
  }
  return (BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0)
}
