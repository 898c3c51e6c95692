// Which recordIds exist and how they stand: 17 bytes an id in an open-addressing table. It does not know records.
import { InvariantError } from '../schemas/errors.ts'

const bytesPerId = 16
const emptySlot = 0xff

/** Maps 128-bit ids to a small rank (0 to 254). A class, because it is one growing table. */
export class IdIndex {
  #ids = Buffer.alloc(1024 * bytesPerId)
  #ranks = Buffer.alloc(1024, emptySlot)
  #count = 0

  get size(): number {
    return this.#count
  }

  /** The rank of an id (32 hex digits), or null when it is not here. */
  rankOf(id: string): number | null {
    const rank = this.#ranks[this.#slotOf(decodeId(id))]
    return rank === undefined || rank === emptySlot ? null : rank
  }

  has(id: string): boolean {
    return this.rankOf(id) !== null
  }

  set(id: string, rank: number): void {
    this.setBytes(decodeId(id), rank)
  }

  /** As `set`, with the id as its 16 bytes. */
  setBytes(id: Buffer, rank: number): void {
    // Half full at most: longer probes would cost more than the memory saves.
    if ((this.#count + 1) * 2 > this.#ranks.length) this.#grow()
    const slot = this.#slotOf(id)
    if (this.#ranks[slot] === emptySlot) {
      id.copy(this.#ids, slot * bytesPerId)
      this.#count += 1
    }
    this.#ranks[slot] = rank
  }

  /** Every id with its rank: 16 bytes and one, in no order. */
  entries(): Buffer {
    const entries = Buffer.allocUnsafe(this.#count * (bytesPerId + 1))
    let end = 0
    for (const [slot, rank] of this.#ranks.entries()) {
      if (rank === emptySlot) continue
      end += this.#ids.copy(entries, end, slot * bytesPerId, (slot + 1) * bytesPerId)
      entries[end] = rank
      end += 1
    }
    return entries
  }

  /** The slot that holds the id, or the free one where it belongs. The ids are hashes, so their bits are the hash. */
  #slotOf(id: Buffer): number {
    const mask = this.#ranks.length - 1
    for (let slot = id.readUInt32LE(0) & mask; ; slot = (slot + 1) & mask) {
      if (this.#ranks[slot] === emptySlot) return slot
      const at = slot * bytesPerId
      if (id.compare(this.#ids, at, at + bytesPerId) === 0) return slot
    }
  }

  #grow(): void {
    const [ids, ranks] = [this.#ids, this.#ranks]
    this.#ids = Buffer.alloc(ids.length * 2)
    this.#ranks = Buffer.alloc(ranks.length * 2, emptySlot)
    this.#count = 0
    for (const [slot, rank] of ranks.entries()) {
      if (rank !== emptySlot) this.setBytes(ids.subarray(slot * bytesPerId, (slot + 1) * bytesPerId), rank)
    }
  }
}

function decodeId(id: string): Buffer {
  const bytes = Buffer.from(id, 'hex')
  if (bytes.length !== bytesPerId) throw new InvariantError(`"${id}" is not an id of 32 hex digits`)
  return bytes
}
