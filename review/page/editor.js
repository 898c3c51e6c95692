// Editing one record: its words in a form, its boxes on the picture, both in one draft. It does not know the server.
import { element } from './dom.js'
import { groundPart, phrasesPart, regionsPart } from './edit-boxes.js'
import { countsPart, listPart, probesPart, textPart, turnsPart, valuePart } from './edit-words.js'
import { phraseName } from './labels.js'

/** @typedef {import('./api.js').TaskOutput} TaskOutput */
/** @typedef {import('./api.js').Draft} Draft */
/** @typedef {import('./api.js').Form} Form */
/** @typedef {[number, number, number, number]} Box */
/**
 * @typedef {{
 *   at: number,
 *   onBoxes: () => void,
 *   tell: (text: string) => void,
 * }} PartContext `at` is the record's place among those of the image
 */
/**
 * What edits one shape of label. `add` returns the index of what got the box, or null where it has no place; `of` gives
 * the boxes of an index, to be changed in place; `drawn` is the output while it has words that lost their last box.
 * @typedef {{
 *   nodes: Node[],
 *   output: () => TaskOutput,
 *   drawn?: () => TaskOutput,
 *   boxes?: {
 *     hint: string,
 *     of: (index: number) => Box[] | undefined,
 *     add: (box: Box) => number | null,
 *     remove: (index: number, place: number) => void,
 *     choose: (index: number) => void,
 *   },
 * }} Part
 */

/** Where a box begins that the keyboard adds. @type {Box} */
const middle = [0.35, 0.35, 0.65, 0.65]

/**
 * @param {{
 *   draft: Draft,
 *   form: Form,
 *   isNew: boolean,
 *   onSave: (output: TaskOutput) => void,
 *   onCancel: () => void,
 *   focusBox: (phrase: string, place: number) => void,
 * } & PartContext} options `isNew`: nothing was answered yet
 */
export function createEditor({ draft, form: wanted, isNew, onSave, onCancel, focusBox, ...context }) {
  const part = partOf(structuredClone(draft), { form: wanted, isNew, context })
  const { at, onBoxes } = context
  const { boxes } = part
  const problem = element('p', { class: 'edit-problem', role: 'alert' })

  const form = element(
    'form',
    {
      'class': 'editor',
      'aria-label': 'edit the label',
      'submit': (/** @type {Event} */ event) => {
        event.preventDefault()
        problem.textContent = ''
        onSave(part.output())
      },
      'keydown': onKey,
    },
    ...part.nodes,
    ...(boxes === undefined ? [] : boxFields(boxes)),
    problem,
    element(
      'div',
      { class: 'buttons' },
      element('button', { type: 'submit', class: 'primary' }, 'Save ', element('kbd', {}, 'Ctrl ↵')),
      element('button', { type: 'button', click: onCancel }, 'Cancel ', element('kbd', {}, 'Esc')),
    ),
  )

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    // Asks the fields first, as the button does.
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit()
    else if (event.key === 'Escape') onCancel()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  /** @param {NonNullable<Part['boxes']>} edited */
  function boxFields(edited) {
    const add = () => addBox(edited, middle)
    return [
      element('button', { type: 'button', class: 'add', click: add }, '+ Add a box'),
      element(
        'p',
        { class: 'hint' },
        `${edited.hint} Arrows move a box, with Shift they resize it, Delete removes it, Esc comes back here.`,
      ),
    ]
  }

  /** @param {NonNullable<Part['boxes']>} edited @param {Box} box */
  function addBox(edited, box) {
    const index = edited.add([...box])
    if (index === null) return
    onBoxes()
    focusBox(phraseName(at, index), (edited.of(index)?.length ?? 1) - 1)
  }

  const focus = () => firstField(form)?.focus()
  return {
    form,
    /** The draft, for the picture. */
    output: part.drawn ?? part.output,
    focus,
    /** Says what is wrong with it. @param {string} text */
    complain(text) {
      problem.textContent = text
      problem.scrollIntoView({ block: 'nearest' })
    },
    /** @type {import('./picture.js').BoxEditor | null} */
    boxes:
      boxes === undefined
        ? null
        : {
            change(name, place, box) {
              const changed = boxes.of(indexOf(name))
              if (changed === undefined) return
              changed.splice(place, 1, box)
              onBoxes()
            },
            remove(name, place) {
              boxes.remove(indexOf(name), place)
              onBoxes()
            },
            add: (box) => addBox(boxes, box),
            choose: (name) => boxes.choose(indexOf(name)),
            leave: focus,
            save: () => form.requestSubmit(),
          },
  }
}

/** @param {string} name of a phrase */
function indexOf(name) {
  return Number(name.split('.')[1])
}

/** @param {HTMLFormElement} form */
function firstField(form) {
  const field = form.querySelector('textarea, input, select') ?? form.querySelector('button')
  return field instanceof HTMLElement ? field : null
}

/** By what is in the draft, never by the name of a task. @param {Draft} draft @param {{ form: Form, isNew: boolean, context: PartContext }} options @returns {Part} */
function partOf(draft, { form, isNew, context }) {
  if ('turns' in draft) return turnsPart(draft, isNew)
  if ('probes' in draft) return probesPart(draft, isNew)
  if ('counts' in draft) return countsPart(draft)
  if ('phrase' in draft) return groundPart(draft)
  if ('regions' in draft) return regionsPart(draft, context)
  if ('phrases' in draft) return phrasesPart(draft, context)
  if ('text' in draft) return textPart(draft)
  if ('tags' in draft)
    return listPart(
      { entries: draft.tags, label: 'Tags, with commas between them', separator: ',' },
      (tags) => ({
        tags: [...new Set(tags.map((tag) => tag.toLowerCase()))],
      }),
    )
  if ('lines' in draft)
    return listPart(
      { entries: draft.lines, label: 'Text in the image, line by line; empty where there is none' },
      (lines) => ({ lines }),
    )
  if ('questions' in draft)
    return listPart({ entries: draft.questions, label: 'Questions, one a line' }, (questions) => ({
      questions,
    }))
  return valuePart(draft, form)
}
