// A run as one page that needs nothing else: counts, failures, checks, how people judged, and pictures with their boxes.
// Pure: facts in, HTML out. Text of models and files is escaped, and no script can run.
import { createHash } from 'node:crypto'
import { histogramSvg } from '../dataset/exports/core/histogram-svg.ts'
import { familyOf, judgeLicence } from '../dataset/exports/core/model-families.ts'
import type { Statistics } from '../dataset/exports/core/statistics.ts'
import { contentOfRecord } from '../dataset/exports/core/content.ts'
import { failureSentences } from '../schemas/failure.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { RunReport } from '../schemas/run-report.ts'
import { linesOf } from './page/text.js'
import { wilson } from './interval.ts'
import { reportStyle } from './report-style.ts'

export type ReportPicture = {
  key: string
  /** WebP or JPEG; null where there is no picture, with the reason. */
  picture: { bytes: Uint8Array; mime: string } | { problem: string }
  records: readonly LabelRecord[]
}
/** How often questions of a kind are answered right by who sees no image. */
export type ReportGuess = {
  kind: string
  questions: number
  chance: number
  byWords: number
  isGivenAway: boolean
}
/** One image, and in which tasks it failed with this. */
export type ReportFailure = { key: string; tasks: string[]; code: string; message: string }

export type ReportFacts = {
  config: RunConfig
  statistics: Statistics
  /** What run.json says; null where the run was not made on one machine. */
  sessions: RunReport | null
  guesses: readonly ReportGuess[]
  /** The first few images. */
  failures: readonly ReportFailure[]
  /** What each check looks for. */
  checkSummaries: ReadonlyMap<string, string>
  pictures: readonly ReportPicture[]
  /** How the pictures were chosen. */
  chosen: string
  createdAt: string
}

export function renderReport(facts: ReportFacts): string {
  const { config } = facts
  const hash = createHash('sha256').update(reportStyle).digest('base64')
  const policy = `default-src 'none'; img-src data:; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(config.runId)}</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
${[
  head(facts),
  tasks(facts),
  charts(facts),
  checks(facts),
  guesses(facts),
  judged(facts),
  failures(facts),
  models(facts),
  gallery(facts),
]
  .filter((part) => part !== '')
  .join('\n')}
</main>
</body>
</html>
`
}

function head({ config, statistics, sessions, createdAt }: ReportFacts): string {
  const { ok, filtered, failed } = statistics.statuses
  const made =
    statistics.from === null || statistics.to === null
      ? ''
      : `, labelled ${span(day(statistics.from), day(statistics.to))}`
  const figures = [
    figure(statistics.images, 'images'),
    figure(ok + filtered + failed, 'records'),
    figure(ok, 'ok'),
    figure(filtered, 'filtered', filtered > 0 ? 'changed' : ''),
    figure(failed, 'failed', failed > 0 ? 'bad' : ''),
    ...(sessions === null || sessions.actual.durationMs === 0
      ? []
      : [
          figure(
            Number((sessions.actual.labelled / (sessions.actual.durationMs / 1000)).toFixed(2)),
            'images a second',
          ),
        ]),
    ...(sessions?.actual.usd == null ? [] : [figure(Number(sessions.actual.usd.toFixed(2)), 'US dollars')]),
  ]
  return `<header>
<h1>${foreign(config.runId)}</h1>
<p>${foreign(config.model.name)} · ${escapeHtml(config.model.weights)} · ${foreign(config.source.uri)}${made}. Written ${day(createdAt)}.</p>
${warnings(statistics)}<dl class="figures">${figures.join('')}</dl>
</header>`
}

function span(from: string, to: string): string {
  return from === to ? from : `${from} to ${to}`
}

/** Weights that are not free bind what is made with them: said before anything else. */
function warnings({ models: used }: Statistics): string {
  const bound = Object.values(used).flatMap((model) => {
    const { isFree, sentence } = judgeLicence(model.licence)
    const { terms } = familyOf(model)
    return [...(isFree ? [] : [sentence]), ...(terms === null ? [] : [terms])]
  })
  return [...new Set(bound)]
    .map(
      (sentence) =>
        `<p class="warning"><strong>Not free to use as you like:</strong> ${foreign(sentence)}.</p>\n`,
    )
    .join('')
}

/** Which model said it, from what it grew, and what it was asked. */
function models({ statistics: { models: used, prompts }, config, sessions }: ReportFacts): string {
  const rows = Object.values(used).map((model) => {
    const { baseModel } = familyOf(model)
    return `<tr><th scope="row">${foreign(model.name)}</th><td class="text">${foreign(`${model.weights}, ${model.engine}`)}</td><td class="text">${foreign(model.licence === '' ? 'not stated' : model.licence)}</td><td class="text">${escapeHtml(baseModel)}</td><td>${model.records.toLocaleString('en')}</td></tr>`
  })
  if (rows.length === 0) return ''
  const biases = [...new Set(Object.values(used).map((model) => familyOf(model).biases))]
  const asked = Object.values(prompts).map(
    ({ task, taskVersion, question, records }) =>
      `<tr><th scope="row">${foreign(task)}</th><td>${taskVersion}</td><td class="text">${foreign(question)}</td><td>${records.toLocaleString('en')}</td></tr>`,
  )
  const { temperature, seed } = config.sampling
  const commands = (sessions?.sessions ?? []).flatMap(({ command }) => command ?? [])
  const made = [...new Set(commands)].slice(-maxCommands).map((one) => `<pre>coglabel ${foreign(one)}</pre>`)
  return `${table('Model', ['model', 'weights and engine', 'licence', 'base language model', 'records'], rows)}
<p class="note">Inherited biases: ${biases.map(foreign).join('; ')}. Temperature ${temperature}, seed ${seed}.</p>
${table('What was asked', ['task', 'version', 'prompt', 'records'], asked)}${made.length === 0 ? '' : `<section><h2>Made by</h2>${made.join('')}</section>`}`
}

/** The last ones: a run may be gone on with by a new command every day. */
const maxCommands = 5

function figure(value: number, name: string, kind = ''): string {
  return `<div class="${kind}"><dt>${name}</dt><dd>${value.toLocaleString('en')}</dd></div>`
}

function tasks({ statistics }: ReportFacts): string {
  const rows = Object.entries(statistics.tasks).map(
    ([name, { records, images, turns, boxes }]) =>
      `<tr><th scope="row">${foreign(name)}</th>${[records, images, turns, boxes].map((value) => `<td>${value.toLocaleString('en')}</td>`).join('')}</tr>`,
  )
  return table('Labels by task', ['task', 'records', 'images', 'turns', 'boxes'], rows)
}

function charts({ statistics }: ReportFacts): string {
  const made = Object.entries(statistics.tasks).flatMap(([task, { words }]) =>
    words.total === 0 ? [] : [histogramSvg(words, { title: `length of ${task}`, unit: 'words' })],
  )
  if (statistics.boxArea.total > 0)
    made.push(
      histogramSvg(statistics.boxArea, { title: 'area of boxes', unit: 'share of the image', decimals: 2 }),
      histogramSvg(statistics.boxesPerRecord, { title: 'boxes of a record', unit: 'boxes' }),
    )
  if (made.length === 0) return ''
  const images = made.map((svg) => {
    const title = /aria-label="([^"]*)"/.exec(svg)?.[1] ?? ''
    return `<img src="data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}" alt="histogram: ${title}" width="410" height="190">`
  })
  return `<section><h2>Lengths and boxes</h2><div class="charts">${images.join('')}</div></section>`
}

function checks({ statistics, checkSummaries }: ReportFacts): string {
  const rows = Object.entries(statistics.checks).map(([name, { passed, failed, scores, scoreSum }]) => {
    const share = passed / Math.max(1, passed + failed)
    return `<tr><th scope="row">${foreign(name)}</th><td>${passed} of ${passed + failed}</td><td>${percent(share)}</td><td>${scores === 0 ? '' : (scoreSum / scores).toFixed(3)}</td><td class="text">${escapeHtml(checkSummaries.get(name) ?? '')}</td></tr>`
  })
  const { cutOff, repaired } = statistics
  const notes = [
    ...(cutOff === 0 ? [] : [`${counted(cutOff, 'label')} cut off at the limit of its length`]),
    ...(repaired === 0 ? [] : [`${counted(repaired, 'label')} mended before it parsed`]),
  ]
  const note = notes.length === 0 ? '' : `<p class="note">${escapeHtml(notes.join(' · '))}</p>`
  if (rows.length === 0) return note
  return table('Checks', ['check', 'passed', 'share', 'mean score', 'looks for'], rows) + note
}

function guesses({ guesses: kinds }: ReportFacts): string {
  const rows = kinds.map(
    ({ kind, questions, chance, byWords, isGivenAway }) =>
      `<tr><th scope="row">${foreign(kind)}</th><td>${questions.toLocaleString('en')}</td><td>${percent(chance)}</td><td>${percent(byWords)}</td><td>${isGivenAway ? 'given away' : ''}</td></tr>`,
  )
  const head = ['kind', 'asked', 'always the commonest answer', 'the commonest to these words', '']
  return rows.length === 0 ? '' : table('Questions answered without the image', head, rows)
}

function judged({ statistics: { verdicts } }: ReportFacts): string {
  const [accepted, edited, rejected] = ['accept', 'edit', 'reject'].map((name) => verdicts[name] ?? 0)
  const all = (accepted ?? 0) + (edited ?? 0) + (rejected ?? 0)
  if (all === 0) return ''
  const { low, high } = wilson(accepted ?? 0, all)
  return `<section><h2>Judged by people</h2><p>People looked at ${all} of the records: ${accepted} stand as they are (${percent((accepted ?? 0) / all)}), ${edited} were edited and ${rejected} rejected. If they were drawn at random, the share of the whole run that stands is ${percent(low)} to ${percent(high)} (95 %).</p></section>`
}

function failures({ statistics, failures: shown }: ReportFacts): string {
  const codes = Object.entries(statistics.failures).toSorted((left, right) => right[1] - left[1])
  if (codes.length === 0) return ''
  // The codes are those of the list.
  const sentences = failureSentences as Readonly<Record<string, string>>
  const rows = codes.map(
    ([code, count]) =>
      `<tr><th scope="row">${escapeHtml(code)}</th><td>${count}</td><td class="text">${escapeHtml(sentences[code] ?? '')}</td></tr>`,
  )
  const examples = shown.map(
    ({ key, tasks: inTasks, message }) =>
      `<li>${foreign(key)}: ${foreign(message)} <span class="task">${escapeHtml(inTasks.length > 3 ? `${inTasks.length} tasks` : inTasks.join(', '))}</span></li>`,
  )
  return `${table('What failed', ['code', 'records', 'means'], rows)}<ul class="failures">${examples.join('')}</ul>`
}

function gallery({ pictures, chosen }: ReportFacts): string {
  if (pictures.length === 0) return ''
  return `<section><h2>Pictures</h2><p>${escapeHtml(chosen)}</p><div class="gallery">${pictures.map(pictureCard).join('\n')}</div></section>`
}

function pictureCard({ key, picture, records }: ReportPicture): string {
  const boxed = fullestOf(records)
  const size = records.find(({ image }) => image !== null)?.image ?? { width: 4, height: 3 }
  const shown =
    'problem' in picture
      ? `<p class="problem">${foreign(picture.problem)}</p>`
      : `<img src="data:${escapeHtml(picture.mime)};base64,${Buffer.from(picture.bytes).toString('base64')}" alt="${escapeHtml(key)}">${boxed === undefined ? '' : boxesSvg(boxed, size)}`
  return `<article><div class="picture">${shown}</div><h3>${foreign(key)}</h3>${recordLines(records, boxed)}</article>`
}

/** Whose boxes are drawn: those of words that stand in a text, or else the first. */
function fullestOf(records: readonly LabelRecord[]): LabelRecord | undefined {
  const boxed = records.filter((record) =>
    contentOfRecord(record).regions.some(({ boxes }) => boxes.length > 0),
  )
  return boxed.find((record) => contentOfRecord(record).text !== null) ?? boxed[0]
}

/** What every record says; those that failed alike share a line. */
function recordLines(records: readonly LabelRecord[], boxed: LabelRecord | undefined): string {
  const without = new Map<string, string[]>()
  for (const { output, task, error } of records) {
    if (output !== null) continue
    const why = error?.code ?? 'left out'
    without.set(why, [...(without.get(why) ?? []), task])
  }
  const lines = records.flatMap((record) => (record.output === null ? [] : [said(record, record === boxed)]))
  const failed = [...without].map(
    ([why, inTasks]) =>
      `<p><span class="task">${escapeHtml([...new Set(inTasks)].join(', '))}</span><span class="bad">${escapeHtml(why)}</span></p>`,
  )
  return [...lines, ...failed].join('')
}

/** Over the picture, in a frame of a thousand to the longer side, so that lines are of one width. */
function boxesSvg(record: LabelRecord, { width, height }: { width: number; height: number }): string {
  const scale = 1000 / Math.max(width, height)
  const [w, h] = [width * scale, height * scale]
  const rects = contentOfRecord(record).regions.flatMap(({ text, boxes }, index) =>
    boxes.map(
      ([x0, y0, x1, y1]) =>
        `<rect class="hue-${index % 8}" x="${(x0 * w).toFixed(1)}" y="${(y0 * h).toFixed(1)}" width="${((x1 - x0) * w).toFixed(1)}" height="${((y1 - y0) * h).toFixed(1)}"><title>${escapeHtml(text.slice(0, 200))}</title></rect>`,
    ),
  )
  return `<svg viewBox="0 0 ${w.toFixed(1)} ${h.toFixed(1)}" preserveAspectRatio="none" aria-hidden="true">${rects.join('')}</svg>`
}

/** A label as a line; where its boxes are drawn, the words that have some bear their colour. */
function said(record: LabelRecord, isDrawn: boolean): string {
  const { text, turns, regions } = contentOfRecord(record)
  const name = `<span class="task">${escapeHtml(record.task)}</span>`
  if (turns.length > 0)
    return turns
      .map(
        ({ question, answer }) =>
          `<p>${name}<span class="question">${foreign(question)}</span> ${foreign(answer)}</p>`,
      )
      .join('')
  // Questions without answers, empty lists: what the review page shows of them.
  if (text === null && regions.length === 0)
    return record.output === null ? '' : `<p>${name}${foreign(linesOf(record.output).join(' · '))}</p>`
  if (text === null)
    return regions
      .map(
        (region, index) =>
          `<p>${name}${words(region.text, isDrawn && region.boxes.length > 0 ? index : null)}${region.boxes.length === 0 ? ' · not there' : ''}</p>`,
      )
      .join('')
  let [html, at] = ['', 0]
  for (const [index, { span }] of regions.entries()) {
    if (span === null || span.start < at) continue
    html +=
      foreign(text.slice(at, span.start)) + words(text.slice(span.start, span.end), isDrawn ? index : null)
    at = span.end
  }
  return `<p>${name}${html}${foreign(text.slice(at))}</p>`
}

function words(text: string, hue: number | null): string {
  return hue === null ? foreign(text) : `<span class="words hue-${hue % 8}">${foreign(text)}</span>`
}

const textColumns = new Set([
  'means',
  'looks for',
  'prompt',
  'weights and engine',
  'licence',
  'base language model',
])

function table(title: string, names: readonly string[], rows: readonly string[]): string {
  return `<section><h2>${title}</h2><div class="wide" role="region" aria-label="${title}" tabindex="0"><table><thead><tr>${names.map((name) => `<th scope="col"${textColumns.has(name) ? ' class="text"' : ''}>${name}</th>`).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div></section>`
}

function counted(count: number, thing: string): string {
  return `${count.toLocaleString('en')} ${thing}${count === 1 ? '' : 's'}`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function day(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`
}

/** A model may say a megabyte; a page is for reading. */
const maxForeignChars = 500

/** Text that is not ours: isolated from the direction of what surrounds it, its marks that turn text shown by number. */
function foreign(text: string): string {
  const cut = text.length > maxForeignChars ? `${text.slice(0, maxForeignChars)} …` : text
  return `<bdi>${escapeHtml(cut)}</bdi>`
}

export function escapeHtml(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(
      /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u200B\u200E\u200F\u202A-\u202E\u2060-\u206F\uFEFF]/g,
      (odd) => `[U+${odd.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}
