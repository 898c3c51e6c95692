// The review page's requests: who may ask, what is answered. It does not know where it is served, nor pixels.
import { timingSafeEqual } from 'node:crypto'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { getCookie, setCookie } from 'hono/cookie'
import { HTTPException } from 'hono/http-exception'
import { z } from 'zod'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { UserError } from '../schemas/errors.ts'
import { RecordId } from '../schemas/label-record.ts'
import { TaskOutput } from '../schemas/task-output.ts'
import { Verdict } from '../schemas/verdict.ts'
import { describeImage, describeItem, describeRun } from './answers.ts'
import { type IndexedImage, versionOf } from './index-entry.ts'
import type { PageFile } from './page-files.ts'
import type { ReviewedRun } from './reviewed-run.ts'
import { audit, ViewQuery } from './view.ts'

export type Picture = { bytes: Uint8Array; mime: string } | { problem: string }

export type ReviewOptions = {
  run: ReviewedRun
  page: ReadonlyMap<string, PageFile>
  /** Large, upright, of a type that browsers show. */
  readPicture(image: IndexedImage): Promise<Picture>
  readThumbnail(image: IndexedImage): Promise<Picture>
  /** Needed once in the address, then in a cookie; null where something else decides who may ask. */
  token: string | null
  /** Tells apart several reviews on one machine. */
  cookieName: string
  who(context: Context): string
}

/** The largest edit: a caption of a megabyte and its escapes. */
const maxBodyBytes = 8 * 1024 * 1024
const maxWindow = 200

const Window = z.object({
  name: z.string().max(40).default(''),
  start: z.coerce.number().int().min(0).default(0),
  count: z.coerce.number().int().min(1).max(maxWindow).default(60),
})
const Judged = z
  .strictObject({
    recordId: RecordId,
    verdict: Verdict.shape.verdict,
    output: TaskOutput.optional(),
    comment: z.string().max(10_000).optional(),
  })
  .refine(
    ({ verdict, output }) => (verdict === 'edit') === (output !== undefined),
    'an edit has an output, and nothing else has one',
  )

const Checked = z.strictObject({ recordId: RecordId, output: TaskOutput })

/** Nothing but this page's own files may run, load or be sent to; and no text can become markup. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

/** Paths are relative, so the app may be mounted anywhere below a slash. */
export function createReviewApp(options: ReviewOptions): Hono {
  const { run, page } = options
  const app = new Hono()
  app.use(async (context, next) => {
    await next()
    context.header('content-security-policy', policy)
    context.header('x-content-type-options', 'nosniff')
    context.header('referrer-policy', 'no-referrer')
    context.header('cross-origin-resource-policy', 'same-origin')
    context.header('cross-origin-opener-policy', 'same-origin')
    if (context.res.headers.get('cache-control') === null) context.header('cache-control', 'no-store')
  })
  app.onError((error, context) => explain(error, context))
  app.notFound((context) => context.json({ problem: `there is no ${context.req.path} here` }, 404))
  app.use(async (context, next) => admit(context, options) ?? (await next()))

  app.get('/', (context) => sendFile(page.get('index.html'), context))
  app.get('/page/:name', (context) => sendFile(page.get(context.req.param('name')), context))
  app.get('/api/run', (context) => context.json(describeRun(run, options.who(context))))
  app.get('/api/view', async (context) => {
    const startMs = performance.now()
    const query = parse(ViewQuery, context.req.query())
    const { name, start, count } = parse(Window, context.req.query())
    const view = await run.view(query, name)
    const items = view.items.slice(start, start + count).map((item) => describeItem(run, item))
    const tookMs = Math.round(performance.now() - startMs)
    return context.json({ images: view.items.length, records: view.recordCount, tookMs, start, items })
  })
  app.get('/api/audit', async (context) => {
    const view = await run.view(
      parse(ViewQuery, context.req.query()),
      parse(Window, context.req.query()).name,
    )
    return context.json(audit(view, { images: run.index.images, verdicts: run.verdicts.newest }))
  })
  app.get('/api/place', async (context) => {
    const view = await run.view(
      parse(ViewQuery, context.req.query()),
      parse(Window, context.req.query()).name,
    )
    const place = run.index.find(context.req.query('recordId') ?? '')
    const item = place === null ? -1 : view.items.findIndex(({ image }) => image === place.image)
    return context.json({ item: item === -1 ? null : item })
  })
  app.get('/api/image/:image', async (context) => context.json(await describeImage(run, imageOf(context))))
  app.get('/picture/:image', async (context) =>
    sendPicture(await options.readPicture(imageOf(context)), context),
  )
  app.get('/thumb/:image', async (context) =>
    sendPicture(await options.readThumbnail(imageOf(context)), context),
  )
  app.post('/api/verdict', bodyLimit({ maxSize: maxBodyBytes }), async (context) => {
    const judged = parse(Judged, await readJson(context))
    return context.json(await run.judge({ ...judged, who: options.who(context) }))
  })
  app.post('/api/check', bodyLimit({ maxSize: maxBodyBytes }), async (context) => {
    const { recordId, output } = parse(Checked, await readJson(context))
    await run.check(recordId, output)
    return context.json({})
  })
  return app

  function imageOf(context: Context): IndexedImage {
    const image = run.index.images[Number(context.req.param('image'))]
    if (image === undefined) throw new HTTPException(404, { message: 'there is no such image in this run' })
    // Places in the list shift when more is sealed; boxes must not meet another picture.
    if (context.req.query('v') !== versionOf(image))
      throw new HTTPException(409, { message: 'the run has changed since; load the page again' })
    return image
  }
}

/** The token in the address becomes a cookie, so that it does not stay in the history; without either, nothing. */
function admit(context: Context, { token, cookieName }: ReviewOptions): Response | null {
  if (token === null) return null
  const given = context.req.query('token')
  if (given !== undefined && context.req.method === 'GET' && isEqual(given, token)) {
    setCookie(context, cookieName, token, { httpOnly: true, sameSite: 'Strict', path: '/' })
    return context.redirect('./')
  }
  if (isEqual(getCookie(context, cookieName) ?? '', token)) return null
  return context.text(
    'This page needs the whole address that coglabel review printed, with its token.\n',
    401,
  )
}

function isEqual(given: string, wanted: string): boolean {
  return timingSafeEqual(Buffer.from(sha256Hex(given)), Buffer.from(sha256Hex(wanted)))
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new HTTPException(400, { message: z.prettifyError(parsed.error) })
}

/** A form of another site cannot send this type without being asked first. */
async function readJson(context: Context): Promise<unknown> {
  const type = context.req.header('content-type') ?? ''
  if (!/^application\/json\b/i.test(type))
    throw new HTTPException(415, {
      message: `the body is ${type || 'of no type'}; expected application/json`,
    })
  return await context.req.json().catch((cause: unknown) => {
    throw new HTTPException(400, { message: 'the body is no JSON', cause })
  })
}

function explain(error: Error, context: Context): Response {
  if (error instanceof HTTPException) return context.json({ problem: error.message }, error.status)
  if (error instanceof UserError) return context.json({ problem: error.message }, 422)
  throw error
}

function sendFile(file: PageFile | undefined, context: Context): Response {
  if (file === undefined) return context.json({ problem: 'there is no such file' }, 404)
  return context.body(file.text, 200, { 'content-type': file.type })
}

function sendPicture(picture: Picture, context: Context): Response {
  if ('problem' in picture) return context.json(picture, 404)
  return context.body(new Uint8Array(picture.bytes), 200, {
    'content-type': picture.mime,
    'cache-control': 'private, max-age=86400, immutable',
  })
}
