// Editing labels that are words, numbers or choices: what stands in the form for each shape. It knows no boxes.
import { element, foreign, hint, textField } from './dom.js'

/** @typedef {import('./api.js').TaskOutput} TaskOutput */
/** @typedef {import('./api.js').Draft} Draft */
/** @typedef {import('./api.js').Form} Form */
/** @typedef {import('./editor.js').Part} Part */
/**
 * @template {string} T
 * @typedef {Extract<Draft, Record<T, unknown>>} DraftWith
 */

/** @param {{ text: string }} draft @returns {Part} */
export function textPart(draft) {
  const field = textField(draft.text, 'text')
  return { nodes: [element('label', {}, 'Text', field)], output: () => ({ text: field.value }) }
}

/**
 * Questions with a field for each answer. Of a label that is written anew the person may ask more.
 * @template T
 * @template {HTMLTextAreaElement | HTMLSelectElement} F
 * @param {T[]} asked
 * @param {{ isNew: boolean, questionOf: (one: T) => string, fieldOf: (one: T | null) => F, isBeside?: boolean }} options
 * @returns {{ nodes: Node[], answers: () => { one: T | null, question: string, field: F }[] }}
 */
function askedFields(asked, { isNew, questionOf, fieldOf, isBeside = false }) {
  const shown = asked.map((one) => ({ one, field: fieldOf(one) }))
  /** @type {{ question: HTMLInputElement, field: F }[]} */
  const own = []
  const rows = element(
    'div',
    { class: 'asked' },
    ...shown.map(({ one, field }) =>
      element('label', { class: isBeside ? 'beside' : null }, foreign(questionOf(one)), field),
    ),
  )
  const ask = () => {
    const question = element('input', {
      'type': 'text',
      'aria-label': 'question',
      'placeholder': 'question',
      'required': true,
      'dir': 'auto',
    })
    const field = fieldOf(null)
    field.setAttribute('aria-label', 'answer')
    own.push({ question, field })
    rows.append(element('div', { class: 'own-question' }, question, field))
    question.focus()
  }
  const another = element('button', { type: 'button', class: 'add', click: ask }, '+ Ask another')
  return {
    nodes: isNew ? [rows, another] : [rows],
    answers: () => [
      ...shown.map(({ one, field }) => ({ one, question: questionOf(one), field })),
      ...own.map(({ question, field }) => ({ one: null, question: question.value.trim(), field })),
    ],
  }
}

/** @param {DraftWith<'turns'>} draft @param {boolean} isNew @returns {Part} */
export function turnsPart({ turns }, isNew) {
  const { nodes, answers } = askedFields(turns, {
    isNew,
    questionOf: ({ question }) => question,
    fieldOf: (turn) => textField(turn?.answer ?? '', 'answer'),
  })
  return {
    nodes: [...nodes, hint('A question whose answer is empty is left out.')],
    output: () => ({
      turns: answers().flatMap(({ one, question, field }) => {
        const answer = field.value.trim()
        if (answer === '') return []
        return one === null ? [{ question, answer, kind: 'asked' }] : [{ ...one, answer }]
      }),
    }),
  }
}

/** @typedef {{ question: string, answer: 'yes' | 'no' | null, object?: string, expected?: 'yes' | 'no' }} Probe */

/** @param {{ probes: Probe[] }} draft @param {boolean} isNew @returns {Part} */
export function probesPart({ probes }, isNew) {
  const { nodes, answers } = askedFields(probes, {
    isNew,
    isBeside: true,
    questionOf: ({ question }) => question,
    fieldOf: (probe) => choiceField(['yes', 'no'], probe?.answer ?? ''),
  })
  return {
    nodes,
    output: () => ({
      probes: answers().map(({ one, question, field }) => {
        const answer = field.value === 'yes' ? 'yes' : 'no'
        return one === null ? { question, answer } : { ...one, answer }
      }),
    }),
  }
}

/** @param {{ counts: { object: string, count: number | null }[] }} draft @returns {Part} */
export function countsPart({ counts }) {
  const list = element('ul', { class: 'count-rows' })
  /** @type {{ object: HTMLInputElement, count: HTMLInputElement, row: HTMLElement }[]} */
  const rows = []
  /** @param {{ object: string, count: number | null }} counted */
  const add = (counted) => {
    const object = element('input', {
      'type': 'text',
      'aria-label': 'what is counted',
      'required': true,
      'dir': 'auto',
    })
    const count = numberField(`how many ${counted.object === '' ? 'there are' : counted.object.slice(0, 80)}`)
    object.value = counted.object
    count.value = counted.count === null ? '' : String(counted.count)
    const remove = () => {
      rows.splice(
        rows.findIndex((one) => one.row === row),
        1,
      )
      row.remove()
      another.focus()
    }
    const row = element(
      'li',
      {},
      object,
      count,
      removeButton(`take ${counted.object.slice(0, 60)} away`, remove),
    )
    rows.push({ object, count, row })
    list.append(row)
    return object
  }
  const another = element(
    'button',
    { type: 'button', class: 'add', click: () => add({ object: '', count: null }).focus() },
    '+ Count another thing',
  )
  for (const counted of counts) add(counted)
  return {
    nodes: [list, another],
    output: () => ({
      counts: rows.map(({ object, count }) => ({ object: object.value.trim(), count: Number(count.value) })),
    }),
  }
}

/**
 * A list of words in one field: entries are told apart by the separator, or by lines.
 * @param {{ entries: string[], label: string, separator?: string }} wanted
 * @param {(entries: string[]) => TaskOutput} outputOf
 * @returns {Part}
 */
export function listPart({ entries, label, separator = '\n' }, outputOf) {
  const field = textField(entries.join(separator === '\n' ? '\n' : `${separator} `), 'entries')
  return {
    nodes: [element('label', {}, label, field)],
    output: () =>
      outputOf(
        field.value
          .split(separator === '\n' ? /\r?\n/ : /[,\n]/)
          .map((entry) => entry.trim())
          .filter((entry) => entry !== ''),
      ),
  }
}

/** The answer to a task of the user's, in the form that the task gives it. @param {DraftWith<'value'>} draft @param {Form} form @returns {Part} */
export function valuePart({ value, boxes }, { answer, boxes: policy }) {
  const given = typeof value === 'string' ? value : JSON.stringify(value, null, 2)
  const { nodes, read } = valueField(
    given,
    answer ?? (typeof value === 'string' ? { kind: 'text' } : { kind: 'json' }),
  )
  if (policy === 'never' || (policy === null && boxes === undefined))
    return { nodes, output: () => ({ value: read() }) }
  const drawn = boxes ?? []
  return {
    nodes,
    output: () => ({ value: read(), boxes: drawn }),
    boxes: {
      hint:
        policy === 'always'
          ? 'Draw a box over what the answer is about.'
          : 'Draw boxes where the answer has some.',
      of: () => drawn,
      add(box) {
        drawn.push(box)
        return 0
      },
      remove: (_index, place) => void drawn.splice(place, 1),
      choose: () => {},
    },
  }
}

/** @typedef {NonNullable<Form['answer']> | { kind: 'json' }} Answer */

/** @param {string} given @param {Answer} answer @returns {{ nodes: Node[], read: () => any }} */
function valueField(given, answer) {
  if (answer.kind === 'number') {
    const field = numberField('')
    field.value = given
    return { nodes: [element('label', {}, 'Number', field)], read: () => Number(field.value) }
  }
  if (answer.kind === 'yes-no' || answer.kind === 'choice') {
    const field = choiceField(answer.kind === 'choice' ? answer.choices : ['yes', 'no'], given)
    return { nodes: [element('label', {}, 'Answer', field)], read: () => field.value }
  }
  const field = textField(given, 'value')
  if (answer.kind === 'text')
    return { nodes: [element('label', {}, 'Answer', field)], read: () => field.value }
  field.classList.add('code')
  field.spellcheck = false
  const wrong = element('p', { class: 'edit-problem', role: 'status' })
  const parse = () => {
    const problem = jsonProblem(field.value)
    field.setCustomValidity(problem)
    wrong.textContent = problem
  }
  field.addEventListener('input', parse)
  field.setCustomValidity(jsonProblem(field.value))
  return {
    nodes: [
      element('label', {}, 'JSON', field),
      wrong,
      ...('schema' in answer ? [schemaDetails(answer.schema)] : []),
    ],
    read: () => (jsonProblem(field.value) === '' ? JSON.parse(field.value) : field.value),
  }
}

/** @param {unknown} schema */
function schemaDetails(schema) {
  return element(
    'details',
    {},
    element('summary', {}, 'what the task wants'),
    element('pre', { class: 'schema', tabindex: 0 }, foreign(JSON.stringify(schema, null, 2))),
  )
}

/** Empty where the text is JSON. @param {string} text */
function jsonProblem(text) {
  try {
    JSON.parse(text)
    return ''
  } catch (error) {
    return `this is no JSON yet: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** @param {readonly string[]} choices @param {string} given */
function choiceField(choices, given) {
  const field = element(
    'select',
    { required: true },
    element('option', { value: '' }, 'choose …'),
    ...choices.map((choice) => element('option', { value: choice }, choice)),
  )
  field.value = choices.includes(given) ? given : ''
  return field
}

/** @param {string} name said by a screen reader; empty where a label stands around the field */
function numberField(name) {
  return element('input', {
    'type': 'number',
    'min': 0,
    'step': 1,
    'required': true,
    'inputmode': 'numeric',
    'aria-label': name === '' ? null : name,
  })
}

/** @param {string} name @param {() => void} act */
function removeButton(name, act) {
  return element('button', { 'type': 'button', 'class': 'remove', 'aria-label': name, 'click': act }, '✕')
}
