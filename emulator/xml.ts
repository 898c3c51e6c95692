// As much XML as S3's requests and answers need: elements and text. It does not know their meaning.
import { AwsError } from './wire.ts'

export type XmlElement = { name: string; text: string; children: XmlElement[] }

/** What an element holds: text, or elements by name; a list repeats its element, undefined leaves it out. */
export type XmlValue = string | number | boolean | undefined | XmlTree | XmlValue[]
export type XmlTree = { [name: string]: XmlValue }

const namespace = 'http://s3.amazonaws.com/doc/2006-03-01/'

/** Writes a document with S3's namespace. */
export function writeXml(root: string, tree: XmlTree): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="${namespace}">${writeTree(tree)}</${root}>`
}

/** The root element of a document; throws AwsError for text that is not well nested. */
export function parseXml(text: string): XmlElement {
  const top: XmlElement = { name: '', text: '', children: [] }
  const open = [top]
  for (const [, tag, characters] of text.matchAll(/<(\/?[A-Za-z][^>]*|[?!][^>]*)>|([^<]+)/g)) {
    const current = open.at(-1)
    if (current === undefined) throw malformed()
    if (characters !== undefined) current.text += unescapeXml(characters)
    else if (tag === undefined || /^[?!]/.test(tag)) continue
    else if (tag.startsWith('/')) {
      if (open.pop()?.name !== tag.slice(1).trim()) throw malformed()
    } else {
      const [name = ''] = tag.split(/[\s/]/)
      const child = { name, text: '', children: [] }
      current.children.push(child)
      if (!tag.endsWith('/')) open.push(child)
    }
  }
  const root = top.children[0]
  if (open.length !== 1 || root === undefined) throw malformed()
  return root
}

export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text
}

export function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => child.name === name)
}

function writeTree(tree: XmlTree): string {
  return Object.entries(tree)
    .map(([name, value]) => writeElement(name, value))
    .join('')
}

function writeElement(name: string, value: XmlValue): string {
  if (value === undefined) return ''
  if (Array.isArray(value)) return value.map((item) => writeElement(name, item)).join('')
  const inner = typeof value === 'object' ? writeTree(value) : escapeXml(String(value))
  return `<${name}>${inner}</${name}>`
}

function escapeXml(text: string): string {
  return text.replaceAll(/[&<>"\0-\x1f]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function unescapeXml(text: string): string {
  const named: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
  return text.replaceAll(/&(#?\w+);/g, (_whole, name: string) => {
    if (!name.startsWith('#')) return named[name] ?? ''
    return String.fromCodePoint(Number(name.startsWith('#x') ? `0${name.slice(1)}` : name.slice(1)))
  })
}

function malformed(): AwsError {
  return new AwsError('MalformedXML', 'The XML you provided was not well-formed.')
}
