// The page: where the reviewer is, what is shown there, and what the keys do. The parts do not know each other.
import { buttonRow, commentForm } from './actions.js'
import { askAudit, askPlace, askRun, askView, checkOutput, pictureUrl } from './api.js'
import { byId } from './dom.js'
import { createEditor } from './editor.js'
import { fail, showCounts, showImage, showNothing, showProgress, showRun, spoken, tell } from './facts.js'
import { createFilters, readAddress, writeAddress } from './filters.js'
import { createJudging } from './judging.js'
import { keepFacts } from './kept-facts.js'
import { listenForKeys } from './keys.js'
import { boxesOf, card, isEditable, linkWords, listenForPhrases, revealCard, standing } from './labels.js'
import { createList, stopsOf } from './list.js'
import { createPicture } from './picture.js'
import { plain } from './text.js'

/** @typedef {import('./api.js').Item} Item */
/** @typedef {import('./api.js').ImageFacts} ImageFacts */
/** @typedef {import('./api.js').RecordFacts} RecordFacts */
/** @typedef {import('./judging.js').Given} Given */
const firstRows = 60
const factsOf = keepFacts()
const asked = readAddress()
let query = asked.query
let [viewName, opened] = ['', 0]
// The list does not wait for what the filters offer.
const firstView = askFirst()
firstView.page.catch(() => {})
const run = await askRun()
const placeName = `coglabel-place-${run.runId}`
/** @type {{ index: number, item: Item, facts: ImageFacts, record: number } | null} */
let here = null
/** @type {ReturnType<typeof createEditor> | null} */
let editor = null
/** @type {HTMLElement | null} */
let commenting = null
let steps = 0

const list = createList({
  root: byId('list'),
  load: async (start, rows) => (await askView(query, { name: viewName, start, count: rows })).items,
  onPick: (index) => void goTo(index),
  onError: fail,
})
const picture = createPicture({ root: byId('stage'), onLink: link })
const judging = createJudging({
  who: run.who,
  show: (target, verdict) => void setVerdict(target, verdict).catch(fail),
  onWritten: askProgress,
  onError: fail,
})
const filters = createFilters({
  run,
  onChange: (next) => {
    // Rows that are still to come belong to the walk that stays.
    if (!leaveForms()) {
      filters.write(query)
      return
    }
    query = next
    void openView(recordHere()?.recordId ?? null)
  },
})

showRun(run)
filters.write(query)
listenForKeys(
  [
    { keys: ['j', 'ArrowDown'], shown: 'j ↓', says: 'next record', run: async () => await move(1) },
    { keys: ['k', 'ArrowUp'], shown: 'k ↑', says: 'record before', run: async () => await move(-1) },
    { keys: ['J', 'PageDown'], shown: 'J', says: 'next image', run: async () => await moveImage(1) },
    { keys: ['K', 'PageUp'], shown: 'K', says: 'image before', run: async () => await moveImage(-1) },
    { keys: ['a'], shown: 'a', says: 'accept the record, go on', run: async () => await judge('accept') },
    { keys: ['A'], shown: 'A', says: 'accept every record of the image, go on', run: acceptImage },
    { keys: ['r'], shown: 'r', says: 'reject the record, go on', run: async () => await judge('reject') },
    { keys: ['e'], shown: 'e', says: 'edit its text and boxes', run: edit },
    { keys: ['c'], shown: 'c', says: 'say why: a comment on the verdict', run: comment },
    { keys: ['u'], shown: 'u', says: 'undo the last verdict', run: undo },
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => ({
      keys: [String(number)],
      shown: number === 1 ? '1 … 9' : '',
      says: 'that record of the image',
      run: () => choose(number - 1),
    })),
    { keys: ['+', '='], shown: '+ -', says: 'zoom in, out', run: () => picture.zoom(1) },
    { keys: ['-'], shown: '', says: 'zoom out', run: () => picture.zoom(-1) },
    { keys: ['0'], shown: '0', says: 'the whole image', run: () => picture.zoom(0) },
    { keys: ['/'], shown: '/', says: 'find words', run: () => byId('filter-text').focus() },
    { keys: ['Home'], shown: 'Home', says: 'first image', run: async () => await goTo(0) },
    { keys: ['End'], shown: 'End', says: 'last image', run: async () => await goTo(list.total - 1) },
  ],
  fail,
)
listenForPhrases(byId('cards'), link)
await openView(asked.at ?? localStorage.getItem(placeName) ?? run.lastJudged, firstView)

/** Asks for the walk anew, under a name of its own. */
function askFirst() {
  const name = `${Date.now().toString(36)}.${(opened += 1)}`
  viewName = name
  return { name, page: askView(query, { name, start: 0, count: firstRows }) }
}

/** Shows the walk and stands at the record, or at its beginning. @param {string | null} recordId @param {ReturnType<typeof askFirst>} [first] */
async function openView(recordId, first) {
  if (!leaveForms()) return
  try {
    const { name, page: coming } = first ?? askFirst()
    const page = await coming
    // Whoever typed on asked for another walk meanwhile.
    if (name !== viewName) return
    list.show({ images: page.images, first: page.items })
    performance.mark('list-shown')
    showCounts(page)
    here = null
    steps += 1
    const place = recordId === null ? null : await askPlace(query, { name, recordId })
    if (name !== viewName) return
    if (page.images === 0) {
      showNothing()
      writeAddress(query, null)
    } else await goTo(place?.item ?? 0, { recordId: place?.item == null ? null : recordId })
    await askProgress()
  } catch (error) {
    fail(error)
  }
}

/** Stands at an image, at one of its records or at its first or last stop. @param {number} index @param {{ recordId?: string | null, isBack?: boolean }} [options] */
async function goTo(index, { recordId = null, isBack = false } = {}) {
  if (index < 0 || index >= list.total || !leaveForms()) return
  steps += 1
  const step = steps
  try {
    const item = await list.itemAt(index)
    if (item === undefined || step !== steps) return
    list.select(index)
    const facts = await factsOf(item)
    if (step !== steps) return
    const wanted = facts.records.findIndex((record) => record.recordId === recordId)
    const stop = stopsOf(item).at(isBack ? -1 : 0) ?? 0
    here = { index, item, facts, record: wanted === -1 ? stop : wanted }
    const alt = `the image ${plain(facts.key, 120)}`
    picture.show({ url: pictureUrl(item), width: facts.width, height: facts.height, alt })
    show()
    void prefetch(index + 1)
  } catch (error) {
    fail(error)
  }
}

/** @param {number} index */
async function prefetch(index) {
  const item = await list.itemAt(index).catch(() => undefined)
  if (item === undefined) return
  new Image().src = pictureUrl(item)
  await factsOf(item).catch(() => undefined)
}

function recordHere() {
  return here?.facts.records[here.record]
}

/** @param {1 | -1} by */
async function move(by) {
  if (here === null) return
  const { index, item, record } = here
  const stops = stopsOf(item)
  const next = by === 1 ? stops.find((at) => at > record) : stops.findLast((at) => at < record)
  if (next !== undefined) choose(next)
  else if (index + by >= 0 && index + by < list.total) await goTo(index + by, { isBack: by === -1 })
  else tell(by === 1 ? 'this is the last record' : 'this is the first record')
}

/** @param {1 | -1} by */
async function moveImage(by) {
  if (here !== null) await goTo(here.index + by)
}

/** @param {number} record */
function choose(record) {
  if (here === null || here.facts.records[record] === undefined || here.record === record) return
  if (!leaveForms()) return
  here.record = record
  show()
}

/** Everything about the place where the reviewer is. */
function show() {
  const record = recordHere()
  if (here === null || record === undefined) return
  const { facts, record: current, index, item } = here
  drawBoxes()
  byId('cards').replaceChildren(
    ...facts.records.map((one, at) =>
      card({
        record: one,
        at,
        isStop: item.records[at]?.isStop === true,
        isCurrent: at === current,
        otherName: run.against === null ? null : `${run.against.runId} (${run.against.model})`,
        onChoose: () => choose(at),
        actions: at === current ? actionsOf(one) : null,
      }),
    ),
  )
  revealCard(byId('labels'), byId('cards').querySelector('.is-current'))
  showImage(facts, { index, total: list.total })
  writeAddress(query, record.recordId)
  localStorage.setItem(placeName, record.recordId)
  tell(spoken(record, index))
}

function drawBoxes() {
  if (here === null) return
  byId('stage').classList.remove('is-empty')
  const { facts, record: current } = here
  const draft = editor?.output() ?? null
  const records = facts.records.map((record, at) =>
    at === current && draft !== null ? { ...record, verdict: null, output: draft } : record,
  )
  picture.draw(boxesOf(records, current))
}

/** @param {RecordFacts} record @returns {HTMLElement} */
function actionsOf(record) {
  if (editor !== null) return editor.form
  if (commenting !== null) return commenting
  const isJudged = record.verdict !== null && record.verdict.verdict !== 'withdraw'
  return buttonRow([
    ...(record.status === 'failed'
      ? []
      : [{ text: 'Accept', key: 'a', kind: 'accept', act: () => void judge('accept') }]),
    { text: 'Reject', key: 'r', kind: 'reject', act: () => void judge('reject') },
    ...(draftOf(record) === null ? [] : [{ text: 'Edit', key: 'e', kind: 'plain', act: edit }]),
    ...(isJudged ? [{ text: 'Comment', key: 'c', kind: 'plain', act: comment }] : []),
    ...(judging.canUndo() ? [{ text: 'Undo', key: 'u', kind: 'plain', act: () => void undo() }] : []),
  ])
}

/** What an edit begins with; of a record without a label an empty one. @param {RecordFacts} record */
function draftOf(record) {
  const output = standing(record)
  if (record.form === null) return null
  return output === null ? record.draft : isEditable(output) ? output : null
}

function edit() {
  const record = recordHere()
  if (here === null || record === undefined || !leaveForms()) return
  const draft = draftOf(record)
  const { form } = record
  if (draft === null || form === null) {
    tell(
      standing(record) === null
        ? 'an image that could not be decoded has nothing to label'
        : 'this text is too long to edit here',
    )
    return
  }
  const at = here.record
  const created = createEditor({
    draft,
    form,
    isNew: record.output === null,
    at,
    onBoxes: drawBoxes,
    onSave: (edited) => void save(created, { at, record, edited }),
    onCancel: closeForms,
    focusBox: (phrase, place) => picture.focusBox(phrase, place),
    tell,
  })
  editor = created
  picture.edit(editor.boxes)
  show()
  editor.focus()
}

/** Closes the form only once the server takes what is in it. @param {ReturnType<typeof createEditor>} from @param {{ at: number, record: RecordFacts, edited: import('./api.js').TaskOutput }} change */
async function save(from, { at, record, edited }) {
  const output = standing(record)
  if (JSON.stringify(edited) === JSON.stringify(output)) {
    closeForms()
    tell('nothing was changed')
    return
  }
  try {
    await checkOutput(record.recordId, edited)
  } catch (error) {
    from.complain(error instanceof Error ? error.message : String(error))
    return
  }
  // Whoever cancelled meanwhile wants none of it.
  if (editor !== from) return
  closeForms()
  give(at, { verdict: 'edit', output: edited })
}

function comment() {
  const verdict = recordHere()?.verdict
  if (here === null || verdict == null || verdict.verdict === 'withdraw') {
    tell('judge the record first; a comment belongs to a verdict')
    return
  }
  if (!leaveForms()) return
  const at = here.record
  const { verdict: kind, output } = verdict
  const { form, field } = commentForm({
    text: verdict.comment ?? '',
    onSave: (text) => {
      closeForms()
      give(at, { verdict: kind, comment: text, ...(output === undefined ? {} : { output }) })
    },
    onCancel: closeForms,
  })
  commenting = form
  show()
  field.focus()
}

function closeForms() {
  editor = null
  commenting = null
  picture.edit(null)
  show()
  byId('list').focus({ preventScroll: true })
}

/** True when nothing would be lost. */
function leaveForms() {
  if (editor === null && commenting === null) return true
  tell('save what you write first, or cancel it with Esc')
  if (editor !== null) editor.focus()
  else commenting?.querySelector('textarea')?.focus()
  return false
}

/** @param {'accept' | 'reject'} verdict */
async function judge(verdict) {
  const record = recordHere()
  if (here === null || record === undefined || !leaveForms()) return
  const isEdited = record.verdict?.verdict === 'edit'
  if (verdict === 'accept' && record.status === 'failed' && !isEdited) {
    tell('a failed record has no label to accept')
    return
  }
  // An edit that is accepted stays an edit: the person's words, not the model's.
  if (verdict === 'reject' || !isEdited) give(here.record, { verdict })
  await move(1)
}

async function acceptImage() {
  if (here === null || !leaveForms()) return
  for (const at of stopsOf(here.item)) {
    const record = here.facts.records[at]
    if (record === undefined || record.status === 'failed' || record.verdict?.verdict === 'edit') continue
    give(at, { verdict: 'accept' })
  }
  await moveImage(1)
}

/** @param {number} at @param {Given} given */
function give(at, given) {
  const record = here?.facts.records[at]
  if (here === null || record === undefined) return
  judging.give({ index: here.index, recordId: record.recordId }, { given, before: record.verdict })
}

async function undo() {
  if (!leaveForms()) return
  const place = judging.lastPlace()
  if (place === null) {
    tell('there is nothing to undo')
    return
  }
  await goTo(place.index, { recordId: place.recordId })
  judging.undo(recordHere()?.verdict ?? null)
}

/** @param {import('./judging.js').Target} target @param {import('./api.js').Verdict | null} verdict */
async function setVerdict({ index, recordId }, verdict) {
  const item = await list.itemAt(index)
  const listed = item?.records.find((record) => record.recordId === recordId)
  if (item === undefined || listed === undefined) return
  listed.verdict = verdict?.verdict ?? null
  await list.update(index)
  const record = (await factsOf(item)).records.find((one) => one.recordId === recordId)
  if (record === undefined) return
  record.verdict = verdict
  if (here?.item === item && editor === null && commenting === null) show()
}

async function askProgress() {
  showProgress(await askAudit(query, viewName), query['sample'] !== undefined)
}

/** Words and boxes of one phrase light up together. @param {string | null} phrase */
function link(phrase) {
  picture.link(phrase)
  linkWords(phrase)
}
