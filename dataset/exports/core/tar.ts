// The tar format (POSIX ustar) as far as datasets need it: plain files with short names, fixed times. Pure but for reading.
import { open } from 'node:fs/promises'
import { UserError } from '../../../schemas/errors.ts'

const block = 512
const maxNameBytes = 100

/** A member: header, content, padding. The same content always gives the same bytes. */
export function* tarMember(name: string, content: Uint8Array): Generator<Uint8Array> {
  yield tarHeader(name, content.length)
  yield content
  const rest = content.length % block
  if (rest !== 0) yield new Uint8Array(block - rest)
}

/** Two empty blocks end an archive. */
export const tarEnd: Uint8Array = new Uint8Array(2 * block)

export function tarMemberBytes(sizeBytes: number): number {
  return block + Math.ceil(sizeBytes / block) * block
}

function tarHeader(name: string, sizeBytes: number): Uint8Array {
  if (Buffer.byteLength(name) > maxNameBytes)
    throw new UserError(`the name ${name} has over ${maxNameBytes} bytes, too many for a tar member`)
  const header = Buffer.alloc(block)
  header.write(name, 0)
  header.write('0000644\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  header.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124)
  header.write(`${'0'.repeat(11)}\0`, 136)
  header.write('        ', 148)
  header.write('0', 156)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

export type TarMember = { name: string; content: Buffer }

/** The members of an archive, one in memory at a time. Throws UserError where it is cut off or damaged. */
export async function* readTar(path: string): AsyncGenerator<TarMember> {
  const file = await open(path, 'r')
  try {
    const header = Buffer.alloc(block)
    for (let at = 0; ;) {
      const { bytesRead } = await file.read(header, 0, block, at)
      if (bytesRead === block && header.every((byte) => byte === 0)) return
      if (bytesRead < block) throw new UserError(`${path} ends without the end of a tar; it was cut off`)
      const sizeBytes = Number.parseInt(header.toString('latin1', 124, 135), 8)
      const sum = header.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0)
      if (sum !== Number.parseInt(header.toString('latin1', 148, 154), 8) || Number.isNaN(sizeBytes))
        throw new UserError(`${path} is damaged at byte ${at}: a header's checksum is wrong`)
      const content = Buffer.alloc(sizeBytes)
      const read = await file.read(content, 0, sizeBytes, at + block)
      if (read.bytesRead < sizeBytes) throw new UserError(`${path} ends inside a member; it was cut off`)
      yield { name: header.toString('utf8', 0, maxNameBytes).replace(/\0[\s\S]*$/, ''), content }
      at += tarMemberBytes(sizeBytes)
    }
  } finally {
    await file.close()
  }
}
