// Small helpers to make elements. Text always goes in as text: nothing here reads markup.
import { visible } from './text.js'

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} [attributes]
 * @param {(Node | string | null)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (typeof value === 'function') made.addEventListener(name, value)
    else made.setAttribute(name, value === true ? '' : String(value))
  }
  made.append(...children.filter((child) => child !== null))
  return made
}

/** Characters of a text that are shown at once. */
const shownChars = 6000
const mostChars = 200_000

/**
 * Text of a model, a file or a person: isolated from the direction of what surrounds it, with its odd characters shown.
 * @param {string} text
 * @param {{ limit?: number }} [options]
 */
export function foreign(text, { limit = shownChars } = {}) {
  const made = element('bdi', { dir: 'auto' })
  fill(made, text.slice(0, limit))
  if (text.length > limit) {
    const rest = text.length - limit
    const more = element(
      'button',
      {
        type: 'button',
        class: 'more',
        click: () => {
          made.replaceChildren()
          fill(made, text.slice(0, mostChars))
          if (text.length > mostChars) made.append(` … ${count(text.length - mostChars)} more characters`)
        },
      },
      `… ${count(rest)} more characters`,
    )
    made.append(' ', more)
  }
  return made
}

/** @param {Element} parent @param {string} text */
function fill(parent, text) {
  for (const piece of visible(text))
    parent.append(
      piece.isOdd
        ? element('span', { class: 'odd', title: 'a character that is not shown as itself' }, piece.text)
        : piece.text,
    )
}

/** @param {string} value @param {string} name */
export function textField(value, name) {
  const field = element('textarea', {
    name,
    rows: Math.min(12, 2 + Math.ceil(value.length / 48) + (value.match(/\n/g)?.length ?? 0)),
    dir: 'auto',
    spellcheck: 'true',
  })
  field.value = value
  return field
}

/** @param {string} text */
export function hint(text) {
  return element('p', { class: 'hint' }, text)
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString('en')
}

/** `1 record`, `2 records`. @param {number} value @param {string} noun */
export function some(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}

/**
 * The element with this id, which index.html has.
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no #${id}`)
  return /** @type {T} */ (/** @type {unknown} */ (found))
}
