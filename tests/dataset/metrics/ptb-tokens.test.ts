// Captions as the official evaluation splits them: worked by hand from the rules of Stanford's tokeniser 3.4.1 in lower
// case and the evaluation's list of punctuation. A word of a case is what stands between two bars.
import { expect, test } from 'vitest'
import { americanSpelling } from '../../../dataset/metrics/american-spelling.ts'
import { ptbTokens } from '../../../dataset/metrics/ptb-tokens.ts'
import { seededRandom } from '../../helpers/seeded-random.ts'

test.each([
  ["A man, on the left, isn't smiling.", "a|man|on|the|left|is|n't|smiling"],
  ["They cannot; we'll see: yes", "they|can|not|we|'ll|see|yes"],
  ["can't won’t DON'T I'd've", "ca|n't|wo|n't|do|n't|i|'d|'ve"],
  [
    "He's gonna, they wanna, I gotta; gimme: 'tis 'Twas",
    "he|'s|gon|na|they|wan|na|i|got|ta|gim|me|'t|is|'t|was",
  ],
  ["the women's restroom, the dogs' ball, a dog’s life", "the|women|'s|restroom|the|dogs|ball|a|dog|'s|life"],
  [
    "ma'am, y'all, O'Neil's s'mores at 5 o'clock in the '90s",
    "ma'am|y'|all|o'neil|'s|s'mores|at|5|o'clock|in|the|'90s",
  ],
  // Quotes of every kind go, whatever they are written as; so do points, commas, dashes alone and dots.
  ['A "stop" sign... two-way', 'a|stop|sign|two-way'],
  ["“curly” ‘single’ `back' ``latex'' «angled»", 'curly|single|back|latex|angled'],
  ['a photo – of - a -- dog — and…cat . . . end', 'a|photo|of|a|dog|and|cat|end'],
  // Brackets have names in upper case on the list, and in lower case here: they stay.
  ['The ball (red) [x] {y}', 'the|ball|-lrb-|red|-rrb-|-lsb-|x|-rsb-|-lcb-|y|-rcb-'],
  ['Hi! Wow!! Really?! No? :)', 'hi|wow|!!|really|?!|no|:-rrb-'],
  ['It costs $1,000.50, £5, €3 or 50%', 'it|costs|$|1,000.50|#|5|$|3|or|50|%'],
  [
    '12/25/2014 at 12:55 p.m., 1/2 cup, 1 1/2 cups, -3.5 ½',
    '12\\/25\\/2014|at|12:55|p.m.|1\\/2|cup|1|1\\/2|cups|-3.5|1\\/2',
  ],
  [
    'and/or black/white T-shirts 35-year-old 2nd 1990s 5ft',
    'and\\/or|black\\/white|t-shirts|35-year-old|2nd|1990s|5ft',
  ],
  [
    'Mr. Smith of the U.S. in St. Louis. I. am No. 5 etc.',
    'mr.|smith|of|the|u.s.|in|st.|louis|i|am|no.|5|etc.',
  ],
  ['No. That is all.', 'no|that|is|all'],
  [
    'see www.foo.com, http://a.b/c?d=1 and me@b.org #tag @me AT&T dog & cat &amp; bird',
    'see|www.foo.com|http:\\/\\/a.b\\/c?d=1|and|me@b.org|#tag|@me|at&t|dog|&|cat|&|bird',
  ],
  ['five * stars ** 🐶 größe naïve', 'five|\\*|stars|\\*\\*|größe|naïve'],
  // Words in lower case are Americanised before all are made lower case.
  [
    'A grey cat and Grey dogs of one colour at the theatre',
    'a|gray|cat|and|grey|dogs|of|one|color|at|the|theater',
  ],
  ['', ''],
  [' \n\t ', ''],
])('the words of %j', (text, expected) => {
  expect(ptbTokens(text).join('|')).toBe(expected)
})

test.each([
  ['colour', 'color'],
  ['neighbours', 'neighbors'],
  ['flavoured', 'flavored'],
  ['favourites', 'favorites'],
  ['travelling', 'traveling'],
  ['realises', 'realizes'],
  ['kerb', 'curb'],
  ['contour', 'contour'],
  ['velour', 'velour'],
  ['pour', 'pour'],
  ['four', 'four'],
  ['hours', 'hours'],
  ['metre', 'metre'],
  ['Colour', 'Colour'],
])('%s is spelt %s', (word, expected) => {
  expect(americanSpelling(word)).toBe(expected)
})

test('no letter of plain words is lost, whatever stands between them, and every text ends', () => {
  const random = seededRandom(3)
  const signs = [...Array.from(` .,;:!?-–—'"’“”()[]{}/\\*&%$#@+=<>~^|_…`), '🐶', '\ud800', '漢', '\u0301']
  for (let round = 0; round < 400; round += 1) {
    const text = Array.from({ length: 30 }, () =>
      random() < 0.5 ? 'bcdf' : signs[Math.floor(random() * signs.length)]!,
    ).join('')
    const tokens = ptbTokens(text)
    expect(tokens.join('').match(/bcdf/g)?.length ?? 0, text).toBe(text.match(/bcdf/g)?.length ?? 0)
    expect(
      tokens.some((token) => token === '' || /\s/.test(token.replaceAll('\u00A0', ''))),
      text,
    ).toBe(false)
  }
})
