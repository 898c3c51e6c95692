// Lines of text around the picture: the run, the image, its look-alikes, how far one is. It does not know the rest.
import { thumbnailUrl } from './api.js'
import { byId, count, element, foreign, some } from './dom.js'
import { standing } from './labels.js'
import { linesOf, plain } from './text.js'

/** @param {import('./api.js').RunFacts} run */
export function showRun(run) {
  byId('run-name').replaceChildren(foreign(run.runId, { limit: 100 }))
  const against =
    run.against === null
      ? []
      : [' · against ', foreign(run.against.runId, { limit: 60 }), `: ${count(run.against.differing)} differ`]
  byId('run-facts').replaceChildren(
    foreign(run.model, { limit: 60 }),
    ` · ${some(run.records, 'record')} of ${some(run.images, 'image')}`,
    ...against,
  )
  const { how, tookMs } = run.index
  byId('index-facts').replaceChildren(
    `index ${how} in ${(tookMs / 1000).toFixed(2)} s · as `,
    foreign(run.who, { limit: 60 }),
  )
}

/** @param {import('./api.js').Page} page */
export function showCounts({ records, images, tookMs }) {
  byId('list-facts').textContent =
    `${some(records, 'record')}, ${some(images, 'image')} · ${count(tookMs)} ms`
}

/** @param {import('./api.js').ImageFacts} facts @param {{ index: number, total: number }} place */
export function showImage(facts, { index, total }) {
  const size = facts.width === null ? '' : ` · ${count(facts.width)} × ${count(facts.height ?? 0)}`
  byId('caption').replaceChildren(
    foreign(facts.key, { limit: 300 }),
    element('span', { class: 'count' }, `${size} · ${count(index + 1)} of ${count(total)}`),
  )
  document.title = `${plain(facts.key, 80)} · review`
  showNear(facts.near)
}

export function showNothing() {
  byId('cards').replaceChildren(
    element('p', { class: 'empty' }, 'No record is like that. Take a filter away.'),
  )
  byId('stage').classList.add('is-empty')
  byId('caption').textContent = ''
  byId('near').hidden = true
}

/** @param {import('./api.js').ImageFacts['near']} near */
function showNear(near) {
  const root = byId('near')
  root.hidden = near.length === 0
  const title =
    near.length === 1 ? 'One picture looks like this one' : `${near.length} pictures look like this one`
  root.replaceChildren(
    element('h2', {}, title),
    element(
      'div',
      { class: 'near-pictures' },
      ...near.map((one) =>
        element(
          'figure',
          {},
          element('img', { src: thumbnailUrl(one), alt: '', loading: 'lazy' }),
          element('figcaption', {}, foreign(one.key, { limit: 60 })),
        ),
      ),
    ),
  )
}

/** How far the walk is judged; of a sample also how sure its share is. @param {import('./api.js').Audit} audit @param {boolean} isSample */
export function showProgress({ records, judged, accepted, edited, rejected, low, high }, isSample) {
  const parts = [`${count(judged)} of ${count(records)} judged`]
  if (judged > 0) parts.push(`${accepted} accepted, ${edited} edited, ${rejected} rejected`)
  if (isSample && judged > 0)
    parts.push(`${percent(accepted / judged)} stand as they are (95 %: ${percent(low)} to ${percent(high)})`)
  byId('progress').textContent = parts.join(' · ')
  byId('progress').classList.toggle('is-audit', isSample)
}

/** What a screen reader says of a record. @param {import('./api.js').RecordFacts} record @param {number} index */
export function spoken(record, index) {
  const { verdict, task } = record
  const judged = verdict === null || verdict.verdict === 'withdraw' ? 'not judged' : verdict.verdict
  return `image ${index + 1}, ${task}, ${judged}: ${plain(saidOf(record), 160)}`
}

/** @param {import('./api.js').RecordFacts} record */
function saidOf(record) {
  const output = standing(record)
  if (output === null) return record.error?.message ?? 'failed'
  return linesOf(output).join(', ')
}

/** @param {number} share */
function percent(share) {
  return `${(100 * share).toFixed(1)} %`
}

/** What went wrong stays this long: what is told of the next record must not wipe it away. */
const problemMs = 8000
let problemUntilMs = 0

/** @param {string} text */
export function tell(text) {
  if (performance.now() < problemUntilMs) return
  byId('message').classList.remove('is-problem')
  byId('message').textContent = text
}

/** @param {unknown} error */
export function fail(error) {
  problemUntilMs = performance.now() + problemMs
  byId('message').classList.add('is-problem')
  byId('message').textContent = error instanceof Error ? error.message : String(error)
}
