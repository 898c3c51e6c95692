// language: the answer is not in English, or not in Latin letters. It does not name the language for sure.
// Example: "Ein Hund sitzt neben zwei Äpfeln." does not pass.
import { type Check, type Finding, toScore } from './check.ts'
import { textsOf, wordsOf } from './said.ts'

/** Common short words of each language that are no words of the others listed. */
const functionWords: Readonly<Record<string, string>> = {
  English:
    'the a an of and is are with on in at to there this that its two his her it from by as which while their some',
  German:
    'der die das ein eine einen einem und ist sind mit auf von den dem im zwei neben vor hinter sitzt steht auch nicht',
  French:
    'le la les un une des et est sont avec sur dans du au aux deux qui près devant derrière il elle ce cette',
  Spanish:
    'el los las un una unos unas y es son con en del al dos que junto delante detrás está están hay su',
  Italian: 'il lo gli una uno e è sono con su di del della nel nella due che accanto davanti dietro sta',
  Portuguese: 'o os as um uma e é são com em do da no na dois duas que ao lado está estão há',
  Dutch: 'de het een en is zijn met op van in twee naast voor achter staat zit er niet',
}
const languages = Object.entries(functionWords).map(([name, words]) => ({
  name,
  words: new Set(words.split(' ')),
}))

/** Below so much of the letters the text is in another script; a foreign name on a sign is less. */
const minLatinShare = 0.7
/** In fewer words chance decides. */
const minWords = 4

export const language: Check = {
  name: 'language',
  summary: 'answers in another script or language than English',
  isDefault: true,
  action: 'filter',
  judge({ output }) {
    const text = textsOf(output).join('\n')
    return text === '' ? null : findLanguage(text)
  },
}

function findLanguage(text: string): Finding {
  const letters = text.match(/\p{L}/gu)?.length ?? 0
  const latin = text.match(/\p{Script=Latin}/gu)?.length ?? 0
  const score = letters === 0 ? 1 : toScore(latin / letters)
  if (score < minLatinShare)
    return { pass: false, score, evidence: `${Math.round((1 - score) * 100)} % of the letters are not Latin` }
  const words = wordsOf(text)
  if (words.length < minWords) return { pass: true, score, evidence: '' }
  const [best, second] = languages
    .map(({ name, words: known }) => ({ name, hits: words.filter((word) => known.has(word)).length }))
    .toSorted((a, b) => b.hits - a.hits)
  const isForeign = best !== undefined && best.name !== 'English' && best.hits >= 2
  const isClear = (best?.hits ?? 0) > (second?.hits ?? 0) || second?.name !== 'English'
  if (!isForeign || !isClear) return { pass: true, score, evidence: '' }
  return { pass: false, score, evidence: `reads like ${best.name}` }
}
