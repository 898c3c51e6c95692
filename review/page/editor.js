// Editing one record: its words in a form, its boxes on the picture, both in one draft. It does not know the server.
import { element, foreign } from './dom.js'
import { phraseName } from './labels.js'
import { moveSpans } from './text.js'

/** @typedef {import('./api.js').TaskOutput} TaskOutput */
/** @typedef {import('./text.js').Phrase} Phrase */
/** @typedef {[number, number, number, number]} Box */

/**
 * @param {{
 *   output: TaskOutput,
 *   at: number,
 *   onBoxes: () => void,
 *   onSave: (output: TaskOutput) => void,
 *   onCancel: () => void,
 *   tell: (text: string) => void,
 * }} options `at` is the record's place among those of the image
 */
export function createEditor({ output, at, onBoxes, onSave, onCancel, tell }) {
  const draft = structuredClone(output)
  /** @type {number} */
  let active = 'phrase' in draft ? 0 : -1
  const phraseList = element('ul', { class: 'phrases' })
  const textarea = 'text' in draft ? textField(draft.text, 'text') : null

  const form = element(
    'form',
    {
      'class': 'editor',
      'aria-label': 'edit the label',
      'submit': (/** @type {Event} */ event) => {
        event.preventDefault()
        save()
      },
      'keydown': (/** @type {KeyboardEvent} */ event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) save()
        else if (event.key === 'Escape') onCancel()
        else return
        event.preventDefault()
        event.stopPropagation()
      },
    },
    ...fields(),
    element(
      'div',
      { class: 'buttons' },
      element('button', { type: 'submit', class: 'primary' }, 'Save ', element('kbd', {}, 'Ctrl ↵')),
      element('button', { type: 'button', click: onCancel }, 'Cancel ', element('kbd', {}, 'Esc')),
    ),
  )

  /** @returns {Node[]} */
  function fields() {
    if ('turns' in draft)
      return draft.turns.map((turn, index) => {
        const field = textField(turn.answer, `answer-${index}`)
        field.addEventListener('input', () => {
          turn.answer = field.value
        })
        return element('label', {}, foreign(turn.question), field)
      })
    if ('phrase' in draft) return [hint('Draw a box over each one, or take all away when there is none.')]
    if (textarea === null) return []
    textarea.addEventListener('input', () => changeText(textarea.value))
    const label = element('label', {}, 'Text', textarea)
    if (!('phrases' in draft)) return [label]
    return [
      label,
      phraseList,
      hint(
        'Select words and draw a box: the words become a phrase. Or choose a phrase and draw another box for it.',
      ),
    ]
  }

  /** @param {string} text */
  function changeText(text) {
    if (!('text' in draft)) return
    if ('phrases' in draft) {
      const held = draft.phrases[active]?.start
      draft.phrases = moveSpans({ before: draft.text, after: text, phrases: draft.phrases })
      active = draft.phrases.findIndex(({ start }) => start === held)
    }
    draft.text = text
    drawPhrases()
    onBoxes()
  }

  function drawPhrases() {
    if (!('phrases' in draft)) return
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
  }

  /** @param {number} index */
  function removePhrase(index) {
    if (!('phrases' in draft)) return
    draft.phrases.splice(index, 1)
    active = -1
    drawPhrases()
    onBoxes()
  }

  /** @param {string} name @returns {Box[] | undefined} */
  function boxesOfPhrase(name) {
    const index = Number(name.split('.')[1])
    if ('phrase' in draft) return draft.boxes
    return 'phrases' in draft ? draft.phrases[index]?.boxes : undefined
  }

  /** Words that are selected become a phrase; without, the box is one more of the chosen phrase. @param {Box} box */
  function add(box) {
    if ('phrase' in draft) draft.boxes.push(box)
    else if ('phrases' in draft) {
      const made = phraseOfSelection(box)
      const chosen = draft.phrases[active]
      if (made !== null) {
        draft.phrases = [...draft.phrases, made].sort((left, right) => left.start - right.start)
        active = draft.phrases.indexOf(made)
        textarea?.setSelectionRange(made.end, made.end)
      } else if (chosen !== undefined) chosen.boxes.push(box)
      else {
        tell('Whose box is it? Select its words in the text, or choose a phrase, and draw again.')
        return
      }
    } else return
    drawPhrases()
    onBoxes()
  }

  /** @param {Box} box @returns {Phrase | null} */
  function phraseOfSelection(box) {
    if (textarea === null || !('phrases' in draft)) return null
    const { selectionStart, selectionEnd, value } = textarea
    const words = value.slice(selectionStart, selectionEnd)
    if (words.trim() === '') return null
    const start = selectionStart + words.length - words.trimStart().length
    const end = start + words.trim().length
    if (draft.phrases.some((phrase) => phrase.start < end && start < phrase.end)) return null
    return { text: value.slice(start, end), start, end, boxes: [box] }
  }

  function save() {
    if ('phrases' in draft)
      onSave({ ...draft, phrases: draft.phrases.filter(({ boxes }) => boxes.length > 0) })
    else onSave(draft)
  }

  drawPhrases()
  return {
    form,
    /** The draft, for the picture. */
    output: () => draft,
    focus: () => (form.querySelector('textarea') ?? form.querySelector('button'))?.focus(),
    /** @type {import('./picture.js').BoxEditor} */
    boxes: {
      change(name, place, box) {
        const boxes = boxesOfPhrase(name)
        if (boxes === undefined) return
        boxes[place] = box
        onBoxes()
      },
      remove(name, place) {
        boxesOfPhrase(name)?.splice(place, 1)
        drawPhrases()
        onBoxes()
      },
      add,
      choose: (name) => choose(Number(name.split('.')[1])),
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

/** @param {string} value @param {string} name */
function textField(value, name) {
  const field = element('textarea', {
    name,
    rows: Math.min(12, 2 + Math.ceil(value.length / 48)),
    dir: 'auto',
    spellcheck: 'true',
  })
  field.value = value
  return field
}

/** @param {string} text */
function hint(text) {
  return element('p', { class: 'hint' }, text)
}
