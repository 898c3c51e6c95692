// Asking the server. It does not know the page.

/** @typedef {ReturnType<typeof import('../answers.ts').describeRun>} RunFacts */
/** @typedef {ReturnType<typeof import('../answers.ts').describeItem>} Item */
/** @typedef {Awaited<ReturnType<typeof import('../answers.ts').describeImage>>} ImageFacts */
/** @typedef {ImageFacts['records'][number]} RecordFacts */
/** @typedef {NonNullable<RecordFacts['form']>} Form how a label of the record is written by hand */
/** @typedef {import('../label-form.ts').Draft} Draft */
/** @typedef {import('../view.ts').Audit} Audit */
/** @typedef {import('../../schemas/verdict.ts').Verdict} Verdict */
/** @typedef {import('../../schemas/task-output.ts').TaskOutput} TaskOutput */
/** @typedef {Record<string, string>} Query */
/** @typedef {{ images: number, records: number, tookMs: number, start: number, items: Item[] }} Page */

/** What the server refused, in its words. */
class Refused extends Error {}

/** @returns {Promise<RunFacts>} */
export const askRun = async () => await ask('api/run')

/** @param {Query} query @param {{ name: string, start: number, count: number }} window @returns {Promise<Page>} */
export const askView = async (query, { name, start, count }) =>
  await ask('api/view', { ...query, name, start: String(start), count: String(count) })

/** @param {Query} query @param {string} name @returns {Promise<Audit>} */
export const askAudit = async (query, name) => await ask('api/audit', { ...query, name })

/** @param {Query} query @param {{ name: string, recordId: string }} wanted @returns {Promise<{ item: number | null }>} */
export const askPlace = async (query, { name, recordId }) =>
  await ask('api/place', { ...query, name, recordId })

/** @param {{ image: number, version: string }} item @returns {Promise<ImageFacts>} */
export const askImage = async ({ image, version }) => await ask(`api/image/${image}`, { v: version })

/**
 * @param {{ recordId: string, verdict: Verdict['verdict'], output?: TaskOutput, comment?: string }} judgement
 * @returns {Promise<Verdict>}
 */
export const sendVerdict = async (judgement) => await send('api/verdict', judgement)

/** Throws what is wrong with an edit; nothing is written. @param {string} recordId @param {TaskOutput} output @returns {Promise<void>} */
export const checkOutput = async (recordId, output) => await send('api/check', { recordId, output })

/** @param {{ image: number, version: string }} image */
export const thumbnailUrl = ({ image, version }) => `thumb/${image}?v=${version}`

/** @param {{ image: number, version: string }} image */
export const pictureUrl = ({ image, version }) => `picture/${image}?v=${version}`

/** @param {string} path @param {unknown} body */
async function send(path, body) {
  return await read(
    await fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }).catch(gone),
  )
}

/** @param {string} path @param {Query} [query] */
async function ask(path, query = {}) {
  const text = new URLSearchParams(query).toString()
  return await read(await fetch(text === '' ? path : `${path}?${text}`).catch(gone))
}

/** @param {Response} response */
async function read(response) {
  if (response.ok) return await response.json()
  const body = await response.text()
  let problem = body
  try {
    problem = JSON.parse(body).problem ?? body
  } catch {
    // Then it is plain text.
  }
  throw new Refused(problem.slice(0, 2000) || `the server answered ${response.status}`)
}

/** @returns {never} */
function gone() {
  throw new Refused('the review is no longer served; start coglabel review again')
}
