// Text as it stands in XML, and back. It does not know elements.

const entities = [
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
] as const

export function escapeXml(text: string): string {
  return entities.reduce((safe, [mark, entity]) => safe.replaceAll(mark, entity), text)
}

export function unescapeXml(text: string): string {
  return entities.toReversed().reduce((plain, [mark, entity]) => plain.replaceAll(entity, mark), text)
}
