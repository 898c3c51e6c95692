// Asking the server. It does not know the page.

/** @typedef {ReturnType<typeof import('../answers.ts').describeRun>} RunFacts */
/** @typedef {ReturnType<typeof import('../answers.ts').describeItem>} Item */
/** @typedef {Awaited<ReturnType<typeof import('../answers.ts').describeImage>>} ImageFacts */
/** @typedef {ImageFacts['records'][number]} RecordFacts */
/** @typedef {import('../view.ts').Audit} Audit */
/** @typedef {import('../../schemas/verdict.ts').Verdict} Verdict */
/** @typedef {import('../../schemas/task-output.ts').TaskOutput} TaskOutput */
/** @typedef {Record<string, string>} Query */
/** @typedef {{ images: number, records: number, tookMs: number, start: number, items: Item[] }} Page */

/** What the server refused, in its words. */
export class Refused extends Error {}

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
export async function sendVerdict(judgement) {
  return await read(
    await fetch('api/verdict', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(judgement),
    }).catch(gone),
  )
}

/** @param {{ image: number, version: string }} image */
export const thumbnailUrl = ({ image, version }) => `thumb/${image}?v=${version}`

/** @param {{ image: number, version: string }} image */
export const pictureUrl = ({ image, version }) => `picture/${image}?v=${version}`

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
