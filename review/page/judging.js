// Verdicts on their way: shown at once, written one after the other, taken back when they cannot be written; and undo.
// It does not know where the reviewer is or how anything looks.
import { sendVerdict } from './api.js'

/** @typedef {import('./api.js').Verdict} Verdict */
/** @typedef {import('./api.js').TaskOutput} TaskOutput */
/** @typedef {{ index: number, recordId: string }} Target `index` is the image's place in the list */
/** @typedef {{ verdict: Verdict['verdict'], output?: TaskOutput, comment?: string }} Given */

/**
 * @param {{
 *   who: string,
 *   show: (target: Target, verdict: Verdict | null) => void,
 *   onWritten: () => Promise<void>,
 *   onError: (error: unknown) => void,
 * }} options
 */
export function createJudging({ who, show, onWritten, onError }) {
  /** @type {{ target: Target, before: Verdict | null }[]} */
  const undoable = []
  /** The last one given is the last one written. */
  let sending = Promise.resolve()

  /** @param {Target} target @param {{ given: Given, before: Verdict | null }} change */
  const send = (target, { given, before }) => {
    sending = sending.then(async () => {
      try {
        show(target, await sendVerdict({ recordId: target.recordId, ...given }))
        await onWritten()
      } catch (error) {
        show(target, before)
        const lost = undoable.findLastIndex((one) => one.target === target)
        if (lost !== -1) undoable.splice(lost, 1)
        onError(error)
      }
    })
  }

  return {
    canUndo: () => undoable.length > 0,
    /** @param {Target} target @param {{ given: Given, before: Verdict | null }} change */
    give(target, { given, before }) {
      undoable.push({ target, before })
      show(target, { v: 1, recordId: target.recordId, who, at: new Date().toISOString(), ...given })
      send(target, { given, before })
    },
    /** Where the last verdict was given, or null. */
    lastPlace: () => undoable.at(-1)?.target ?? null,
    /** Puts back what stood before the last verdict; without any, the record counts as not judged. @param {Verdict | null} current */
    undo(current) {
      const last = undoable.pop()
      if (last === undefined) return
      const { target, before } = last
      /** @type {Given} */
      const given = { verdict: before?.verdict ?? 'withdraw' }
      if (before?.output !== undefined) given.output = before.output
      if (before?.comment !== undefined) given.comment = before.comment
      show(target, before)
      send(target, { given, before: current })
    },
  }
}
