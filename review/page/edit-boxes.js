// Editing labels that have boxes: a text with phrases, one phrase that was asked for, regions with words of their own.
// It does not know how boxes are drawn.
import { element, foreign, textField } from './dom.js'
import { phraseName } from './labels.js'
import { moveSpans } from './text.js'

/** @typedef {import('./text.js').Phrase} Phrase */
/** @typedef {import('./editor.js').Box} Box */
/** @typedef {import('./editor.js').Part} Part */
/** @typedef {import('./editor.js').PartContext} PartContext */

/** @param {{ phrase: string, boxes: Box[] }} draft @returns {Part} */
export function groundPart(draft) {
  return {
    nodes: [element('p', { class: 'said' }, foreign(draft.phrase))],
    output: () => draft,
    boxes: {
      hint: 'Draw a box over each one, or take all away when there is none.',
      of: () => draft.boxes,
      add(box) {
        draft.boxes.push(box)
        return 0
      },
      remove: (_index, place) => void draft.boxes.splice(place, 1),
      choose: () => {},
    },
  }
}

/** @param {{ regions: { box: Box, text: string }[] }} draft @param {PartContext} context @returns {Part} */
export function regionsPart(draft, { at, onBoxes }) {
  const list = element('ul', { class: 'region-rows' })
  /** @type {{ field: HTMLTextAreaElement, boxes: Box[] }[]} */
  let regions = draft.regions.map(({ box, text }) => ({ field: textField(text, 'region'), boxes: [box] }))
  const draw = () => list.replaceChildren(...regions.map(({ field }, index) => row(field, index)))
  /** @param {HTMLTextAreaElement} field @param {number} index */
  const row = (field, index) => {
    field.rows = 1
    field.setAttribute('aria-label', `what is in box ${index + 1}`)
    field.oninput = onBoxes
    const remove = () => {
      regions = regions.filter((one) => one.field !== field)
      draw()
      onBoxes()
    }
    return element(
      'li',
      {},
      element(
        'span',
        { 'class': `words hue-${index % 8}`, 'data-phrase': phraseName(at, index) },
        String(index + 1),
      ),
      field,
      element(
        'button',
        {
          'type': 'button',
          'class': 'remove',
          'aria-label': `take box ${index + 1} and its words away`,
          'click': remove,
        },
        '✕',
      ),
    )
  }
  draw()
  return {
    nodes: [list],
    output: () => ({
      regions: regions.flatMap(({ field, boxes }) => boxes.map((box) => ({ box, text: field.value.trim() }))),
    }),
    boxes: {
      hint: 'Draw a box and say what is in it.',
      of: (index) => regions[index]?.boxes,
      add(box) {
        regions.push({ field: textField('', 'region'), boxes: [box] })
        draw()
        return regions.length - 1
      },
      remove(index) {
        regions.splice(index, 1)
        draw()
      },
      choose: (index) => regions[index]?.field.scrollIntoView({ block: 'nearest' }),
    },
  }
}

/** @param {{ text: string, phrases: Phrase[] }} draft @param {PartContext} context @returns {Part} */
export function phrasesPart(draft, { at, onBoxes, tell }) {
  const phraseList = element('ul', { class: 'phrases' })
  const textarea = textField(draft.text, 'text')
  let active = -1
  textarea.addEventListener('input', () => {
    const held = draft.phrases[active]?.start
    draft.phrases = moveSpans({ before: draft.text, after: textarea.value, phrases: draft.phrases })
    active = draft.phrases.findIndex(({ start }) => start === held)
    draft.text = textarea.value
    drawPhrases()
    onBoxes()
  })

  function drawPhrases() {
    phraseList.replaceChildren(
      ...draft.phrases.map((phrase, index) =>
        phraseChip({
          phrase,
          name: phraseName(at, index),
          hue: index % 8,
          isActive: index === active,
          onChoose: () => choose(index),
          onRemove: () => removePhrase(index),
        }),
      ),
    )
  }

  /** @param {number} index */
  function choose(index) {
    if (index === active) return
    active = index
    drawPhrases()
    const button = phraseList.querySelectorAll('.words')[index]
    if (button instanceof HTMLElement && phraseList.contains(document.activeElement)) button.focus()
  }

  /** @param {number} index */
  function removePhrase(index) {
    draft.phrases.splice(index, 1)
    active = -1
    drawPhrases()
    onBoxes()
    textarea.focus()
  }

  /** Words that are selected become a phrase; without, the box is one more of the chosen phrase. @param {Box} box */
  function add(box) {
    const made = phraseOfSelection(box)
    const chosen = draft.phrases[active]
    if (made !== null) {
      draft.phrases = [...draft.phrases, made].sort((left, right) => left.start - right.start)
      active = draft.phrases.indexOf(made)
      textarea.setSelectionRange(made.end, made.end)
    } else if (chosen !== undefined) chosen.boxes.push(box)
    else {
      tell('Whose box is it? Select its words in the text, or choose a phrase, and try again.')
      return null
    }
    drawPhrases()
    return active
  }

  /** @param {Box} box @returns {Phrase | null} */
  function phraseOfSelection(box) {
    const { selectionStart, selectionEnd, value } = textarea
    const words = value.slice(selectionStart, selectionEnd)
    if (words.trim() === '') return null
    const start = selectionStart + words.length - words.trimStart().length
    const end = start + words.trim().length
    if (draft.phrases.some((phrase) => phrase.start < end && start < phrase.end)) return null
    return { text: value.slice(start, end), start, end, boxes: [box] }
  }

  drawPhrases()
  return {
    nodes: [element('label', {}, 'Text', textarea), phraseList],
    drawn: () => draft,
    output: () => ({ ...draft, phrases: draft.phrases.filter(({ boxes }) => boxes.length > 0) }),
    boxes: {
      hint: 'Select words and draw a box: the words become a phrase. Or choose a phrase and draw another box for it.',
      of: (index) => draft.phrases[index]?.boxes,
      add,
      remove(index, place) {
        draft.phrases[index]?.boxes.splice(place, 1)
        drawPhrases()
      },
      choose,
    },
  }
}

/** @param {{ phrase: Phrase, name: string, hue: number, isActive: boolean, onChoose: () => void, onRemove: () => void }} options */
function phraseChip({ phrase, name, hue, isActive, onChoose, onRemove }) {
  return element(
    'li',
    { class: isActive ? 'is-active' : null },
    element(
      'button',
      {
        'type': 'button',
        'class': `words hue-${hue}`,
        'data-phrase': name,
        'aria-pressed': String(isActive),
        'click': onChoose,
      },
      foreign(phrase.text, { limit: 80 }),
      ` · ${phrase.boxes.length}`,
    ),
    element(
      'button',
      {
        'type': 'button',
        'class': 'remove',
        'aria-label': `take the phrase ${phrase.text.slice(0, 60)} and its boxes away`,
        'click': onRemove,
      },
      '✕',
    ),
  )
}
