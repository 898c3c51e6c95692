// Which key does what. It does not know how it is done.
import { byId, element } from './dom.js'

/** @typedef {{ keys: string[], shown: string, says: string, run: () => Promise<void> | void }} Command */

const storedName = 'coglabel-single-keys'

/**
 * Keys act unless a person is typing; the dialog lists them and switches them off. One command ends before the next
 * begins, so that a verdict never meets a record that is about to be left; a key that is held down does not pile up.
 * @param {readonly Command[]} commands
 * @param {(error: unknown) => void} onError
 */
export function listenForKeys(commands, onError) {
  let running = Promise.resolve()
  let waiting = 0
  const dialog = /** @type {HTMLDialogElement} */ (byId('help'))
  const single = /** @type {HTMLInputElement} */ (byId('single-keys'))
  single.checked = localStorage.getItem(storedName) !== 'off'
  single.addEventListener('change', () => localStorage.setItem(storedName, single.checked ? 'on' : 'off'))
  byId('help-button').addEventListener('click', () => dialog.showModal())
  byId('keys').append(
    ...commands.flatMap(({ shown, says }) => [
      element('dt', {}, ...shown.split(' ').map((key) => element('kbd', {}, key))),
      element('dd', {}, says),
    ]),
  )
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return
    if (isTyping(event.target)) {
      if (event.key === 'Escape' && event.target instanceof HTMLElement) event.target.blur()
      return
    }
    if (event.key === '?') {
      event.preventDefault()
      dialog.showModal()
      return
    }
    if (!single.checked && event.key.length === 1) return
    const command = commands.find(({ keys }) => keys.includes(event.key))
    if (command === undefined || isUsedByTarget(event)) return
    event.preventDefault()
    if (event.repeat && waiting > 0) return
    waiting += 1
    // One that fails must not take the others with it.
    running = running
      .then(async () => await command.run())
      .catch(onError)
      .finally(() => {
        waiting -= 1
      })
  })
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'button'].includes(target.type)
}

/** Enter and space press what has the focus. @param {KeyboardEvent} event */
function isUsedByTarget({ key, target }) {
  return (
    (key === 'Enter' || key === ' ') &&
    target instanceof HTMLElement &&
    target.closest('button, summary, a, label') !== null
  )
}
