// The image with its boxes, and drawing, moving and resizing them. It does not know records or where edits go.
import { element, foreign } from './dom.js'

/** @typedef {[number, number, number, number]} Box fractions of the upright image */
/**
 * @typedef {{
 *   phrase: string,
 *   place: number,
 *   hue: number,
 *   label: string,
 *   box: Box,
 *   kind: 'current' | 'beside' | 'other',
 * }} DrawnBox `phrase` links it to words elsewhere; `place` counts the boxes of a phrase
 */
/**
 * @typedef {{
 *   change: (phrase: string, place: number, box: Box) => void,
 *   remove: (phrase: string, place: number) => void,
 *   add: (box: Box) => void,
 *   choose: (phrase: string) => void,
 *   leave: () => void,
 *   save: () => void,
 * }} BoxEditor `leave` goes back to the words
 */

/** Smaller is a slip of the hand. */
const smallest = 0.004
const step = 0.005
const handles = ['nw', 'n', 'ne', 'e', 'se', 's', 'sw', 'w']
const zooms = [1, 1.5, 2, 3, 4, 6, 8]
/** Tiny images are not blown up beyond this. */
const mostEnlarged = 6

/** @param {{ root: HTMLElement, onLink: (phrase: string | null) => void }} options */
export function createPicture({ root, onLink }) {
  const image = element('img', { class: 'photo', alt: '', draggable: 'false' })
  const layer = element('div', { class: 'layer' })
  const frame = element('div', { class: 'frame' }, image, layer)
  const problem = element('p', { class: 'problem', hidden: true })
  root.replaceChildren(frame, problem)
  /** @type {BoxEditor | null} */
  let editor = null
  let zoom = 0

  image.addEventListener('error', () => void explain())
  const explain = async () => {
    const { src } = image
    const reason = await whyNot(src)
    if (src !== image.src) return
    problem.textContent = reason
    problem.hidden = false
    frame.classList.add('is-broken')
  }
  image.addEventListener('load', () => setRatio(image.naturalWidth, image.naturalHeight))
  layer.addEventListener('pointerdown', (event) => {
    if (editor !== null && event.button === 0) begin(event, { layer, editor })
  })
  layer.addEventListener('keydown', (event) => {
    if (editor !== null) moveByKey(event, editor)
  })
  layer.addEventListener('pointerover', (event) => onLink(boxOf(event.target)?.dataset['phrase'] ?? null))
  layer.addEventListener('pointerleave', () => onLink(null))

  /** @param {number} width @param {number} height */
  const setRatio = (width, height) => {
    frame.style.setProperty('--ratio', String(width / height))
    frame.style.setProperty('--most', `${Math.max(width, 40) * mostEnlarged}px`)
  }
  const setZoom = (/** @type {number} */ next) => {
    zoom = Math.max(0, Math.min(zooms.length - 1, next))
    frame.style.setProperty('--zoom', String(zooms[zoom]))
    root.classList.toggle('is-zoomed', zoom > 0)
  }

  return {
    /** @param {{ url: string, width: number | null, height: number | null, alt: string }} picture */
    show({ url, width, height, alt }) {
      problem.hidden = true
      frame.classList.remove('is-broken')
      if (width !== null && height !== null) setRatio(width, height)
      image.alt = alt
      setZoom(0)
      if (image.getAttribute('src') !== url) image.src = url
    },
    /** @param {readonly DrawnBox[]} boxes */
    draw(boxes) {
      const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset : {}
      const { phrase, place } = layer.contains(document.activeElement) ? focused : {}
      const isCrowded = boxes.filter(({ kind }) => kind !== 'beside').length > 14
      layer.classList.toggle('is-crowded', isCrowded)
      layer.replaceChildren(...boxes.map((box) => boxElement(box, editor !== null)))
      for (const one of layer.querySelectorAll('.box'))
        if (one instanceof HTMLElement && one.dataset['phrase'] === phrase && one.dataset['place'] === place)
          one.focus()
    },
    /** @param {string | null} phrase */
    link(phrase) {
      layer.classList.toggle('is-linking', phrase !== null)
      for (const box of layer.querySelectorAll('.box'))
        if (box instanceof HTMLElement) box.classList.toggle('is-linked', box.dataset['phrase'] === phrase)
    },
    /** @param {BoxEditor | null} next */
    edit(next) {
      editor = next
      layer.classList.toggle('is-editing', next !== null)
    },
    /** @param {string} phrase @param {number} place */
    focusBox(phrase, place) {
      for (const one of layer.querySelectorAll('.box.current'))
        if (
          one instanceof HTMLElement &&
          one.dataset['phrase'] === phrase &&
          one.dataset['place'] === String(place)
        )
          one.focus()
    },
    zoom: (/** @type {number} */ by) => setZoom(by === 0 ? 0 : zoom + by),
  }
}

/** @param {string} url */
async function whyNot(url) {
  try {
    const response = await fetch(url)
    const { problem } = await response.json()
    return String(problem).slice(0, 1000)
  } catch {
    return 'this browser cannot show the image'
  }
}

/** @param {DrawnBox} drawn @param {boolean} isEditing */
function boxElement({ phrase, place, hue, label, box, kind }, isEditing) {
  const canEdit = isEditing && kind === 'current'
  const made = element(
    'div',
    {
      'class': `box ${kind} hue-${hue % 8}`,
      'data-phrase': phrase,
      'data-place': place,
      'tabindex': canEdit ? 0 : null,
      'role': canEdit ? 'group' : null,
      'aria-label': canEdit
        ? `box of ${label}; arrows move it, with shift they resize it, Delete removes it`
        : null,
    },
    element('span', { class: 'chip' }, foreign(label, { limit: 60 })),
    ...(canEdit
      ? handles.map((side) => element('span', { 'class': `handle ${side}`, 'data-side': side }))
      : []),
  )
  putAt(made, box)
  made.dataset['box'] = JSON.stringify(box)
  return made
}

/** @param {HTMLElement} made @param {Box} box */
function putAt(made, [x0, y0, x1, y1]) {
  made.style.left = `${x0 * 100}%`
  made.style.top = `${y0 * 100}%`
  made.style.width = `${(x1 - x0) * 100}%`
  made.style.height = `${(y1 - y0) * 100}%`
  // A name above a box at the upper edge would lie outside of the image.
  made.classList.toggle('is-high', y0 < 0.06)
  made.classList.toggle('is-right', x0 > 0.7)
}

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
function boxOf(target) {
  return target instanceof HTMLElement ? target.closest('.box') : null
}

/** @param {HTMLElement} made @returns {Box} */
function readBox(made) {
  return JSON.parse(made.dataset['box'] ?? '[0,0,1,1]')
}

/** Follows the pointer until it is let go: moves a box, one of its sides, or draws a new one. */
/** @param {PointerEvent} event @param {{ layer: HTMLElement, editor: BoxEditor }} options */
function begin(event, { layer, editor }) {
  const bounds = layer.getBoundingClientRect()
  /** @param {PointerEvent} at */
  const fractions = (at) => ({
    x: clamp((at.clientX - bounds.left) / bounds.width),
    y: clamp((at.clientY - bounds.top) / bounds.height),
  })
  const from = fractions(event)
  const found = boxOf(event.target)
  const existing = found?.classList.contains('current') === true ? found : null
  const side = event.target instanceof HTMLElement ? event.target.dataset['side'] : undefined
  const made = existing ?? element('div', { class: 'box current is-new' })
  const before = existing === null ? null : readBox(existing)
  if (existing === null) layer.append(made)
  else {
    existing.focus()
    editor.choose(existing.dataset['phrase'] ?? '')
  }
  event.preventDefault()
  layer.setPointerCapture(event.pointerId)
  /** @type {Box} */
  let box = before ?? [from.x, from.y, from.x, from.y]
  /** @param {PointerEvent} at */
  const follow = (at) => {
    const to = fractions(at)
    if (before === null) box = between(from, to)
    else if (side === undefined) box = moved(before, to.x - from.x, to.y - from.y)
    else box = resized(before, side, { x: to.x - from.x, y: to.y - from.y })
    putAt(made, box)
  }
  const end = () => {
    layer.removeEventListener('pointermove', follow)
    layer.removeEventListener('pointerup', end)
    layer.removeEventListener('pointercancel', end)
    if (before === null) made.remove()
    const isBox = box[2] - box[0] >= smallest && box[3] - box[1] >= smallest
    if (!isBox) return
    if (before === null) editor.add(rounded(box))
    else if (String(box) !== String(before))
      editor.change(made.dataset['phrase'] ?? '', Number(made.dataset['place']), rounded(box))
  }
  layer.addEventListener('pointermove', follow)
  layer.addEventListener('pointerup', end)
  layer.addEventListener('pointercancel', end)
}

/** @param {KeyboardEvent} event @param {BoxEditor} editor */
function moveByKey(event, editor) {
  const made = boxOf(event.target)
  if (made === null) return
  const [phrase, place] = [made.dataset['phrase'] ?? '', Number(made.dataset['place'])]
  const arrows = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }
  const isSave = event.key === 'Enter' && (event.ctrlKey || event.metaKey)
  if (event.key === 'Delete' || event.key === 'Backspace' || event.key === 'Escape' || isSave) {
    event.preventDefault()
    event.stopPropagation()
    if (isSave) editor.save()
    else if (event.key === 'Escape') editor.leave()
    else {
      editor.remove(phrase, place)
      // The box that had the focus is gone.
      if (document.activeElement === document.body) editor.leave()
    }
    return
  }
  const [x, y] = arrows[/** @type {keyof typeof arrows} */ (event.key)] ?? []
  if (x === undefined || y === undefined) return
  event.preventDefault()
  const box = readBox(made)
  editor.change(phrase, place, rounded(event.shiftKey ? resized(box, 'se', { x, y }) : moved(box, x, y)))
}

/** @param {{ x: number, y: number }} from @param {{ x: number, y: number }} to @returns {Box} */
function between(from, to) {
  return [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.max(from.x, to.x), Math.max(from.y, to.y)]
}

/** @param {Box} box @param {number} x @param {number} y @returns {Box} */
function moved([x0, y0, x1, y1], x, y) {
  const [right, down] = [Math.max(-x0, Math.min(1 - x1, x)), Math.max(-y0, Math.min(1 - y1, y))]
  return [x0 + right, y0 + down, x1 + right, y1 + down]
}

/** @param {Box} box @param {string} side @param {{ x: number, y: number }} by @returns {Box} */
function resized([x0, y0, x1, y1], side, { x, y }) {
  return [
    side.includes('w') ? clamp(Math.min(x0 + x, x1 - smallest)) : x0,
    side.includes('n') ? clamp(Math.min(y0 + y, y1 - smallest)) : y0,
    side.includes('e') ? clamp(Math.max(x1 + x, x0 + smallest)) : x1,
    side.includes('s') ? clamp(Math.max(y1 + y, y0 + smallest)) : y1,
  ]
}

/** A ten-thousandth is less than a pixel of any screen. @param {Box} box @returns {Box} */
function rounded([x0, y0, x1, y1]) {
  const round = (/** @type {number} */ value) => Math.round(value * 10_000) / 10_000
  return [round(x0), round(y0), round(x1), round(y1)]
}

/** @param {number} value */
function clamp(value) {
  return Math.max(0, Math.min(1, value))
}
