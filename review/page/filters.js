// The form of filters and the address behind the #, each made from the other. It does not know what a filter finds.
import { byId, count, element } from './dom.js'
import { plain } from './text.js'

/** @typedef {import('./api.js').Query} Query */
/** @typedef {import('./api.js').RunFacts} RunFacts */

const names = [
  'task',
  'status',
  'verdict',
  'text',
  'check',
  'pass',
  'from',
  'to',
  'near',
  'differs',
  'where',
  'sort',
  'sample',
  'seed',
]

/** Typing waits this long for the next letter. */
const typingMs = 350

/** @returns {{ query: Query, at: string | null }} */
export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1))
  /** @type {Query} */
  const query = {}
  for (const name of names) {
    const value = given.get(name)
    if (value !== null && value !== '') query[name] = value
  }
  return { query, at: given.get('at') }
}

/** @param {Query} query @param {string | null} at */
export function writeAddress(query, at) {
  const text = new URLSearchParams({ ...query, ...(at === null ? {} : { at }) }).toString()
  history.replaceState(null, '', text === '' ? location.pathname : `#${text}`)
}

/** @param {{ run: RunFacts, onChange: (query: Query) => void }} options */
export function createFilters({ run, onChange }) {
  const form = /** @type {HTMLFormElement} */ (byId('filters'))
  offer(
    'task',
    run.tasks.map(({ name, count: records }) => ({ value: name, text: `${name} · ${count(records)}` })),
  )
  offer(
    'status',
    Object.entries(run.statuses).map(([value, records]) => ({ value, text: `${value} · ${count(records)}` })),
  )
  offer(
    'check',
    run.checks.map(({ name, low, high }) => ({
      value: name,
      text:
        low === null || high === null
          ? plain(name)
          : `${plain(name)} · ${low.toFixed(2)} to ${high.toFixed(2)}`,
    })),
  )
  for (const part of form.querySelectorAll('[data-needs]')) {
    const needs = part.getAttribute('data-needs')
    const has =
      needs === 'checks'
        ? run.checks.length > 0
        : needs === 'near'
          ? run.nearImages > 0
          : run.against !== null
    if (part instanceof HTMLElement) part.hidden = !has
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let waiting
  const change = () => {
    clearTimeout(waiting)
    onChange(read())
  }
  form.addEventListener('change', change)
  form.addEventListener('input', (event) => {
    if (!(event.target instanceof HTMLInputElement) || event.target.type === 'checkbox') return
    clearTimeout(waiting)
    waiting = setTimeout(change, typingMs)
  })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    change()
  })

  /** @returns {Query} */
  function read() {
    /** @type {Query} */
    const query = {}
    const data = new FormData(form)
    for (const name of names) {
      const value = data.get(name)
      if (typeof value === 'string' && value.trim() !== '') query[name] = value
    }
    if (query['sort'] === 'key') delete query['sort']
    if (query['sample'] === undefined) delete query['seed']
    return query
  }

  return {
    /** @param {Query} query */
    write(query) {
      for (const name of names) {
        const field = form.elements.namedItem(name)
        if (field instanceof HTMLInputElement && field.type === 'checkbox')
          field.checked = query[name] === '1'
        else if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement)
          field.value = query[name] ?? (name === 'sort' ? 'key' : '')
      }
    },
  }
}

/** @param {string} id @param {{ value: string, text: string }[]} options */
function offer(id, options) {
  byId(`filter-${id}`).append(...options.map(({ value, text }) => element('option', { value }, text)))
}
