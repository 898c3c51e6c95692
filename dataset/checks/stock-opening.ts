// stock-opening: the caption begins with words about the picture being a picture, which say nothing of what is in it.
// Example: "The image showcases a dog" does not pass; "A dog" does.
import type { Check } from './check.ts'
import { proseOf, quote } from './said.ts'

const medium =
  '(?:image|picture|photo|photograph|scene|illustration|drawing|painting|artwork|graphic|screenshot|snapshot)'
const verbs =
  '(?:shows?|showcas(?:es?|ing)|features?|featuring|depicts?|depicting|displays?|displaying|portrays?|portraying|' +
  'captur(?:es?|ing)|presents?|contains?|illustrates?|consists? of|includes?|is (?:a|an|of)|showing)'
const openings = [
  String.raw`(?:the|this|an?) (?:\p{L}+ )?${medium} (?:here )?(?:\p{L}+ly )?${verbs}\b`,
  String.raw`(?:in|within|on) (?:the|this) (?:\p{L}+ )?${medium}\b`,
  String.raw`(?:this|it|that) is (?:a|an|the) (?:\p{L}+ )?${medium}\b`,
  String.raw`(?:here (?:is|we see)|we (?:can )?see|you can see|there (?:is|are) (?:a|an) ${medium})\b`,
]
const pattern = new RegExp(`^["'“]?(?:${openings.join('|')})`, 'iu')

export const stockOpening: Check = {
  name: 'stock-opening',
  summary: '"The image shows …" and its like before what is to be seen',
  isDefault: true,
  action: 'note',
  judge({ output }) {
    const text = proseOf(output)
    if (text === null) return null
    const found = pattern.exec(text.trim())?.[0]
    return found === undefined
      ? { pass: true, score: 0, evidence: '' }
      : { pass: false, score: 1, evidence: `begins with ${quote(found)}` }
  },
}
