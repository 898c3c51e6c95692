// The list of images: only the rows in sight exist, and only the pages around them are asked for.
import { thumbnailUrl } from './api.js'
import { count, element, foreign } from './dom.js'
import { plain } from './text.js'

/** @typedef {import('./api.js').Item} Item */

const rowHeight = 68
const pageRows = 60
/** Rows kept ready above and below. */
const margin = 6
/** Browsers stop at about 33 million pixels; beyond, a pixel stands for more than one row's share. */
const maxHeight = 15_000_000

const verdictSigns = { accept: '✓', reject: '✕', edit: '✎', withdraw: '' }

/**
 * @param {{
 *   root: HTMLElement,
 *   load: (start: number, count: number) => Promise<Item[]>,
 *   onPick: (index: number) => void,
 *   onError: (error: unknown) => void,
 * }} options
 */
export function createList({ root, load, onPick, onError }) {
  const sheet = element('div', { class: 'sheet' })
  root.replaceChildren(sheet)
  /** @type {Map<number, Promise<Item[]>>} */
  let pages = new Map()
  /** @type {Map<number, HTMLElement>} */
  let rows = new Map()
  let [total, selected, generation] = [0, -1, 0]

  /** @param {number} index @returns {Promise<Item | undefined>} */
  const itemAt = async (index) => {
    if (index < 0 || index >= total) return undefined
    const page = Math.floor(index / pageRows)
    const asked = pages.get(page) ?? load(page * pageRows, pageRows)
    pages.set(page, asked)
    asked.catch(() => pages.delete(page))
    return (await asked)[index % pageRows]
  }

  const height = () => Math.min(total * rowHeight, maxHeight)
  /** Rows from the top, in fractions. */
  const scrolledRows = () => {
    const room = height() - root.clientHeight
    const rowsBeyond = total - root.clientHeight / rowHeight
    return room <= 0 ? 0 : (root.scrollTop / room) * rowsBeyond
  }

  const draw = () => {
    const top = scrolledRows()
    const first = Math.max(0, Math.floor(top) - margin)
    const last = Math.min(total, Math.ceil(top + root.clientHeight / rowHeight) + margin)
    /** @type {Map<number, HTMLElement>} */
    const next = new Map()
    for (let index = first; index < last; index += 1) {
      const row = rows.get(index) ?? makeRow(index)
      row.style.transform = `translateY(${Math.round(root.scrollTop + (index - top) * rowHeight)}px)`
      next.set(index, row)
    }
    for (const [index, row] of rows) if (!next.has(index)) row.remove()
    for (const row of next.values()) if (row.parentElement !== sheet) sheet.append(row)
    rows = next
  }

  /** @param {number} index */
  const makeRow = (index) => {
    const row = element('div', {
      'class': 'row',
      'role': 'option',
      'id': `row-${index}`,
      'aria-selected': String(index === selected),
      'aria-setsize': total,
      'aria-posinset': index + 1,
      'aria-label': `image ${index + 1}`,
      'click': () => onPick(index),
    })
    const drawn = generation
    itemAt(index)
      .then((item) => {
        if (item !== undefined && drawn === generation) fillRow(row, item)
      })
      .catch(onError)
    return row
  }

  root.addEventListener('scroll', draw, { passive: true })
  new ResizeObserver(draw).observe(root)

  return {
    itemAt,
    get total() {
      return total
    },
    /** @param {{ images: number, first: Item[] }} view */
    show({ images, first }) {
      generation += 1
      total = images
      pages = new Map([[0, Promise.resolve(first)]])
      for (const row of rows.values()) row.remove()
      rows = new Map()
      sheet.style.height = `${height()}px`
      root.scrollTop = 0
      selected = -1
      root.removeAttribute('aria-activedescendant')
      draw()
    },
    /** @param {number} index */
    select(index) {
      rows.get(selected)?.setAttribute('aria-selected', 'false')
      selected = index
      const top = scrolledRows()
      const seen = root.clientHeight / rowHeight
      if (index < top || index + 1 > top + seen) {
        const wanted = index < top ? index : index + 1 - seen
        const rowsBeyond = Math.max(1, total - seen)
        root.scrollTop = (wanted / rowsBeyond) * (height() - root.clientHeight)
      }
      draw()
      rows.get(index)?.setAttribute('aria-selected', 'true')
      root.setAttribute('aria-activedescendant', `row-${index}`)
    },
    /** Draws one row anew, after a verdict. @param {number} index */
    async update(index) {
      const [row, item] = [rows.get(index), await itemAt(index)]
      if (row !== undefined && item !== undefined) fillRow(row, item)
    },
  }
}

/** Places of the records that the filters take. @param {Item} item */
export function stopsOf({ records }) {
  return records.flatMap(({ isStop }, at) => (isStop ? [at] : []))
}

/** @param {HTMLElement} row @param {Item} item */
function fillRow(row, item) {
  const at = item.key.lastIndexOf('/')
  const folder = item.key.slice(0, at + 1)
  const picture = element('img', {
    src: thumbnailUrl(item),
    alt: '',
    loading: 'lazy',
    decoding: 'async',
    width: 64,
    height: 48,
    error: (/** @type {Event} */ event) => {
      // An empty frame: a browser's own sign of a broken picture differs from one to the next.
      if (event.target instanceof HTMLElement)
        event.target.replaceWith(element('span', { 'class': 'no-picture', 'aria-hidden': 'true' }))
    },
  })
  const stops = item.records.filter(({ isStop }) => isStop)
  const marks = stops.slice(0, 12).map(({ status, verdict }) => {
    const given = verdict === 'withdraw' ? null : verdict
    return element(
      'span',
      { class: `mark ${given ?? 'none'} status-${status}` },
      given === null ? (status === 'ok' ? '·' : '!') : verdictSigns[given],
    )
  })
  const judged = stops.filter(({ verdict }) => verdict !== null && verdict !== 'withdraw').length
  const spoken = `${judged} of ${count(stops.length)} judged${item.near > 0 ? `, ${item.near} look alike` : ''}`
  row.replaceChildren(
    picture,
    element(
      'span',
      { class: 'name' },
      element('span', { class: 'file' }, foreign(item.key.slice(at + 1), { limit: 80 })),
      element('span', { class: 'folder' }, folder === '' ? '' : foreign(folder, { limit: 80 })),
      element('span', { 'class': 'marks', 'aria-hidden': 'true' }, ...marks),
      element('span', { class: 'only-spoken' }, spoken),
    ),
  )
  row.removeAttribute('aria-label')
  row.title = plain(item.key, 500)
}
