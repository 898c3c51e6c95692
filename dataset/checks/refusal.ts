// refusal: the model speaks of itself, of its rules or of what it cannot do, in place of the image.
// Example: "I'm sorry, but I can't assist with that." does not pass; "A sign says: I cannot swim" does.
import type { Check } from './check.ts'
import { quote, textsOf } from './said.ts'

const cannot = String.raw`(?:can(?:no|['’]?)t|could not|couldn['’]t|am (?:not able|unable)|['’]m (?:not able|unable)|won['’]t|will not|must decline)`
const patterns = [
  String.raw`\bas an? (?:ai|artificial intelligence|(?:large )?language model|assistant)\b`,
  String.raw`\bi['’]?(?:m| am) (?:just |only )?an? (?:ai|(?:large )?language model|assistant|chatbot)\b`,
  String.raw`^(?:i['’]?m|i am)?\s*(?:very )?sorry\b`,
  String.raw`^(?:unfortunately|apologies|my apologies)\b[^.]*\b(?:i|unable|cannot|can['’]t)\b`,
  String.raw`\bi (?:do not|don['’]t) feel comfortable\b`,
  String.raw`\bi ?${cannot} (?:to )?(?:assist|help|provide|describe|identify|see|view|fulfil+|comply|answer|process|comment|generate|do that|access|analy[sz]e|determine|recogni[sz]e)`,
  String.raw`\b(?:against|violates?) (?:my|our|the|openai['’]s) (?:guidelines|policy|policies|content|usage|programming)\b`,
  String.raw`\b(?:no image (?:was|has been|is) (?:provided|attached|given)|(?:the )?image (?:is not|isn['’]t|was not|could not be) (?:provided|attached|loaded|displayed))\b`,
  String.raw`\bcontent (?:policy|filter|was blocked|has been removed)\b`,
].map((source) => new RegExp(source, 'i'))

export const refusal: Check = {
  name: 'refusal',
  summary: 'an apology, or talk of what an assistant may not do',
  isDefault: true,
  action: 'filter',
  judge({ output }) {
    const texts = textsOf(output)
    if (texts.length === 0) return null
    const found = texts
      .map(withoutQuotes)
      .flatMap((text) => patterns.flatMap((pattern) => pattern.exec(text.trim())?.[0] ?? []))
    return found[0] === undefined
      ? { pass: true, score: 0, evidence: '' }
      : { pass: false, score: found.length, evidence: quote(found[0]) }
  },
}

/** What stands between quotation marks was read off the image. */
function withoutQuotes(text: string): string {
  return text.replaceAll(/["“][^"”]{1,300}["”]/g, '""')
}
