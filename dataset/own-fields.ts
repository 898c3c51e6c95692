// What a line of a manifest or of a list says of its image alone: questions, phrases, and all else as meta. It does not
// know how the line names its image, nor who labels it.
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { ItemMeta, type OwnFields, WorkItem } from '../schemas/work-item.ts'
import { maxOwnBytes, ownBytes } from '../schemas/work-message.ts'

/**
 * Reads the fields of a line but those that name its image. Questions, phrases and meta of another form than ours are
 * fields like any others: other people's manifests hold all kinds of things. Throws UserError for what no label keeps.
 */
export function readOwnFields(fields: Readonly<Record<string, unknown>>, where: string): OwnFields {
  const own: OwnFields = {}
  const { id, meta: named, ...others } = fields
  const rest: Record<string, unknown> = others
  for (const name of ['questions', 'phrases'] as const) {
    const texts = WorkItem.shape[name].safeParse(rest[name])
    if (!texts.success || texts.data === undefined) continue
    own[name] = [...new Set(texts.data)]
    delete rest[name]
  }
  const isRecord = typeof named === 'object' && named !== null && !Array.isArray(named)
  const inner = named === undefined || isRecord ? named : { meta: named }
  const parsed = ItemMeta.safeParse({ ...rest, ...inner, ...(id == null ? {} : { id }) })
  if (!parsed.success)
    throw new UserError(`${where} cannot be kept with the labels: ${z.prettifyError(parsed.error)}`)
  return { ...own, ...(Object.keys(parsed.data).length === 0 ? {} : { meta: parsed.data }) }
}

/** Throws UserError where a message cannot carry an image's own fields: nothing of them is ever cut. */
export function refuseOversized(own: OwnFields, where: string): void {
  const sizeBytes = ownBytes(own)
  if (sizeBytes <= maxOwnBytes) return
  throw new UserError(
    `${where} has ${sizeBytes} bytes of questions, phrases and other fields; a message carries at most ${maxOwnBytes}, ` +
      'ask fewer or keep other fields elsewhere, or use coglabel label',
  )
}
