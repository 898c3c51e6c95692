// Buttons and the comment field of the record one stands at. It does not know what they do.
import { element } from './dom.js'

/** @typedef {{ text: string, key: string, kind: string, act: () => void }} Action */

/** @param {readonly Action[]} actions */
export function buttonRow(actions) {
  return element(
    'div',
    { class: 'buttons' },
    ...actions.map(({ text, key, kind, act }) =>
      element(
        'button',
        {
          type: 'button',
          class: kind,
          click: (/** @type {Event} */ event) => {
            event.stopPropagation()
            act()
          },
        },
        `${text} `,
        element('kbd', {}, key),
      ),
    ),
  )
}

/** @param {{ text: string, onSave: (text: string) => void, onCancel: () => void }} options */
export function commentForm({ text, onSave, onCancel }) {
  const field = element('textarea', { 'rows': 3, 'aria-label': 'comment', 'maxlength': 10_000 })
  field.value = text
  field.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') onCancel()
    else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) onSave(field.value)
    else return
    event.preventDefault()
    event.stopPropagation()
  })
  const save = { text: 'Save', key: 'Ctrl ↵', kind: 'primary', act: () => onSave(field.value) }
  const cancel = { text: 'Cancel', key: 'Esc', kind: 'plain', act: onCancel }
  return { form: element('div', { class: 'editor' }, field, buttonRow([save, cancel])), field }
}
