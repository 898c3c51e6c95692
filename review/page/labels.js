// What was said about an image, a card for each record: words linked to boxes, checks, verdicts, the other run's answer.
import { element, foreign } from './dom.js'
import { compareWords, cutAtPhrases, linesOf } from './text.js'

/** @typedef {import('./api.js').RecordFacts} RecordFacts */
/** @typedef {import('./api.js').TaskOutput} TaskOutput */

/** Names a phrase of a record, for words and boxes alike. @param {number} record @param {number} phrase */
export const phraseName = (record, phrase) => `${record}.${phrase}`

/** The label as it stands: an edit's output in the place of the model's. @param {RecordFacts} record */
export function standing({ verdict, output }) {
  return verdict?.verdict === 'edit' && verdict.output !== undefined ? verdict.output : output
}

/**
 * @param {{
 *   record: RecordFacts,
 *   at: number,
 *   isStop: boolean,
 *   isCurrent: boolean,
 *   otherName: string | null,
 *   onChoose: () => void,
 *   actions: HTMLElement | null,
 * }} options
 */
export function card({ record, at, isStop, isCurrent, otherName, onChoose, actions }) {
  const { task, ordinal, status, checks, verdict, raw } = record
  const output = standing(record)
  const name = ordinal === 0 ? task : `${task} ${ordinal + 1}`
  const given = verdict === null || verdict.verdict === 'withdraw' ? null : verdict
  const title = element(
    'h2',
    { id: `card-${at}` },
    element('span', { class: 'task' }, name),
    status === 'ok' ? null : element('span', { class: `badge ${status}` }, status),
    given === null ? null : element('span', { class: `badge ${given.verdict}` }, verdictWords[given.verdict]),
    at < 9 ? element('kbd', { 'class': 'number', 'aria-hidden': 'true' }, String(at + 1)) : null,
  )
  return element(
    'article',
    {
      'class': `card${isCurrent ? ' is-current' : ''}${isStop ? '' : ' is-beside'}`,
      'aria-labelledby': `card-${at}`,
      'aria-current': isCurrent ? 'true' : null,
      'data-record': at,
      'click': onChoose,
    },
    title,
    output === null ? failure(record) : said(output, at),
    given === null ? null : judgedBy(given, record),
    checks.length === 0 ? null : checkList(checks),
    record.other === null && otherName === null ? null : otherSide(record, output, otherName ?? ''),
    raw === null ? null : details(record),
    isCurrent ? actions : null,
  )
}

const verdictWords = { accept: '✓ accepted', reject: '✕ rejected', edit: '✎ edited', withdraw: '' }

/** @param {TaskOutput} output @param {number} at */
function said(output, at) {
  if ('turns' in output)
    return element(
      'dl',
      { class: 'turns' },
      ...output.turns.flatMap(({ question, answer }) => [
        element('dt', {}, foreign(question)),
        element('dd', {}, foreign(answer)),
      ]),
    )
  if ('phrase' in output) {
    const { boxes, phrase } = output
    const told = boxes.length === 0 ? 'not there' : boxes.length === 1 ? '1 box' : `${boxes.length} boxes`
    return element(
      'p',
      { class: 'said' },
      boxes.length === 0 ? foreign(phrase) : words(phrase, { name: phraseName(at, 0), hue: 0 }),
      element('span', { class: 'count' }, told),
    )
  }
  if ('regions' in output && output.regions.length > 0)
    return element(
      'ul',
      { class: 'said lines' },
      ...output.regions.map(({ text }, index) =>
        element('li', {}, words(text, { name: phraseName(at, index), hue: index })),
      ),
    )
  if (!('text' in output)) {
    const lines = linesOf(output)
    if ('boxes' in output && output.boxes !== undefined && output.boxes.length > 0)
      return element('p', { class: 'said' }, words(lines.join('\n'), { name: phraseName(at, 0), hue: 0 }))
    if (lines.length < 2)
      return element('p', { class: 'said' }, lines[0] === undefined ? 'nothing' : foreign(lines[0]))
    return element('ul', { class: 'said lines' }, ...lines.map((line) => element('li', {}, foreign(line))))
  }
  const phrases = 'phrases' in output ? output.phrases : []
  if (phrases.length === 0) return element('p', { class: 'said' }, foreign(output.text))
  const runs = cutAtPhrases(output.text, phrases).map(({ text, phrase }) =>
    phrase === null ? foreign(text) : words(text, { name: phraseName(at, phrase), hue: phrase }),
  )
  return element('p', { class: 'said', dir: 'auto' }, ...runs)
}

/** Words that have boxes. @param {string} text @param {{ name: string, hue: number }} link */
function words(text, { name, hue }) {
  return element(
    'span',
    { 'class': `words hue-${hue % 8}`, 'data-phrase': name, 'tabindex': 0 },
    foreign(text, { limit: 2000 }),
  )
}

/** @param {RecordFacts} record */
function failure({ error, status }) {
  return element(
    'p',
    { class: 'failure' },
    element('strong', {}, error?.code ?? status),
    ' ',
    foreign(error?.message ?? 'there is no label'),
  )
}

/** @param {NonNullable<RecordFacts['verdict']>} verdict @param {RecordFacts} record */
function judgedBy({ who, at, comment, verdict }, { output }) {
  const when = new Date(at).toLocaleString()
  return element(
    'div',
    { class: 'judged' },
    element('p', {}, 'by ', foreign(who, { limit: 100 }), `, ${when}`),
    comment === undefined ? null : element('p', { class: 'comment' }, foreign(comment)),
    verdict === 'edit' && output !== null
      ? element(
          'details',
          {},
          element('summary', {}, 'what the model said'),
          element('p', {}, foreign(flat(output))),
        )
      : null,
  )
}

/** @param {RecordFacts['checks']} checks */
function checkList(checks) {
  return element(
    'ul',
    { 'class': 'checks', 'aria-label': 'checks' },
    ...checks.map(({ name, pass, score, evidence }) =>
      element(
        'li',
        { class: pass ? 'pass' : 'fail' },
        element('span', { class: 'sign' }, pass ? '✓' : '✕'),
        element('span', { class: 'check' }, foreign(name, { limit: 100 })),
        element(
          'span',
          { class: 'score' },
          score === null ? (pass ? 'passed' : 'failed') : String(Number(score.toFixed(3))),
        ),
        evidence === '' ? null : element('p', { class: 'evidence' }, foreign(evidence, { limit: 600 })),
      ),
    ),
  )
}

/** The other run's answer with what differs marked. @param {RecordFacts} record @param {TaskOutput | null} output @param {string} name */
function otherSide({ other }, output, name) {
  const head = element('h3', {}, 'other run ', foreign(name, { limit: 80 }))
  if (other === null)
    return element('div', { class: 'other-run' }, head, element('p', {}, 'has no such record'))
  if (other.output === null)
    return element(
      'div',
      { class: 'other-run' },
      head,
      element('p', { class: 'failure' }, foreign(other.error?.message ?? 'failed')),
    )
  const [ours, theirs] = [output === null ? '' : flat(output), flat(other.output)]
  if (ours === theirs) {
    const same = JSON.stringify(output) === JSON.stringify(other.output)
    return element(
      'div',
      { class: 'other-run' },
      head,
      element('p', { class: 'same' }, same ? 'says the same' : 'says the same with other boxes (dashed)'),
    )
  }
  const runs = compareWords(ours, theirs).map(({ text, side }) =>
    element(side === 'both' ? 'span' : side === 'before' ? 'del' : 'ins', {}, foreign(text)),
  )
  return element('div', { class: 'other-run' }, head, element('p', { class: 'said' }, ...runs))
}

/** A label's words as one text. @param {TaskOutput} output */
function flat(output) {
  return linesOf(output).join('\n')
}

/** @param {RecordFacts} record */
function details({ raw, question, model, digest, finishReason, repairs, createdAt, recordId }) {
  return element(
    'details',
    { class: 'more-facts' },
    element('summary', {}, 'how it was made'),
    element(
      'dl',
      {},
      ...fact('asked', question),
      ...fact('answered', raw ?? ''),
      ...(finishReason === 'length' ? fact('cut off', 'at the answer limit') : []),
      ...(repairs.length === 0 ? [] : fact('mended', repairs.join('; '))),
      ...fact('model', `${model} ${digest}`),
      ...fact('made', new Date(createdAt).toLocaleString()),
      ...fact('record', recordId),
    ),
  )
}

/** @param {string} name @param {string} value */
function fact(name, value) {
  return [element('dt', {}, name), element('dd', {}, foreign(value, { limit: 1500 }))]
}

/** Tells of the phrase whose words the pointer or the focus is on. @param {HTMLElement} root @param {(phrase: string | null) => void} onLink */
export function listenForPhrases(root, onLink) {
  for (const enters of ['pointerover', 'focusin'])
    root.addEventListener(enters, (event) => onLink(phraseAt(event.target)))
  for (const leaves of ['pointerleave', 'focusout']) root.addEventListener(leaves, () => onLink(null))
}

/** @param {EventTarget | null} target */
function phraseAt(target) {
  return target instanceof Element
    ? (target.closest('[data-phrase]')?.getAttribute('data-phrase') ?? null)
    : null
}

/** @param {string | null} phrase */
export function linkWords(phrase) {
  for (const one of document.querySelectorAll('.words'))
    one.classList.toggle('is-linked', phrase !== null && one.getAttribute('data-phrase') === phrase)
}

/** Longer texts would hold the browser up for seconds; they are a model's slip, to be rejected. */
const maxEditedChars = 50_000

/** @param {TaskOutput} output */
export function isEditable(output) {
  return flat(output).length <= maxEditedChars
}

/** Scrolls the labels alone: on a narrow screen, where they lie below the picture, nothing jumps. @param {HTMLElement} labels @param {Element | null} current */
export function revealCard(labels, current) {
  if (!(current instanceof HTMLElement)) return
  const above = current.offsetTop - labels.offsetTop - 14
  const below = above + current.offsetHeight + 28 - labels.clientHeight
  if (labels.scrollTop > above) labels.scrollTop = above
  else if (labels.scrollTop < below) labels.scrollTop = Math.min(above, below)
}

/**
 * Boxes of every record, as the picture draws them.
 * @param {readonly RecordFacts[]} records
 * @param {number} current
 * @returns {import('./picture.js').DrawnBox[]}
 */
export function boxesOf(records, current) {
  return records.flatMap((record, at) => {
    const kind = at === current ? 'current' : 'beside'
    const ours = regionsOf(standing(record)).flatMap(({ text, boxes }, phrase) =>
      boxes.map((box, place) => ({
        phrase: phraseName(at, phrase),
        place,
        hue: phrase,
        label: text,
        box,
        kind,
      })),
    )
    const theirs =
      at !== current
        ? []
        : regionsOf(record.other?.output ?? null).flatMap(({ text, boxes }, phrase) =>
            boxes.map((box, place) => ({
              phrase: `other.${phrase}`,
              place,
              hue: phrase,
              label: text,
              box,
              kind: 'other',
            })),
          )
    return /** @type {import('./picture.js').DrawnBox[]} */ ([...theirs, ...ours])
  })
}

/** @param {TaskOutput | null} output @returns {{ text: string, boxes: [number, number, number, number][] }[]} */
function regionsOf(output) {
  if (output === null) return []
  if ('phrase' in output) return [{ text: output.phrase, boxes: output.boxes }]
  if ('regions' in output) return output.regions.map(({ text, box }) => ({ text, boxes: [box] }))
  if ('value' in output) return [{ text: linesOf(output).join(' '), boxes: output.boxes ?? [] }]
  return 'phrases' in output ? output.phrases : []
}
