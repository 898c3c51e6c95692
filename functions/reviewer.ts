// Lambda root: the review pages of a place, one below `/RUN/`, behind a function URL whose callers sign (IAM). Pictures
// are the thumbnails that workers wrote. The files of review/page lie beside the bundle, or at COGLABEL_PAGE.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { createReviewApp, type Picture } from '../review/app.ts'
import { keepReviewedRuns } from '../review/kept-runs.ts'
import { readPageFiles } from '../review/page-files.ts'
import { thumbnailKey } from '../schemas/thumbnail.ts'
import { RunId } from '../schemas/work-message.ts'
import { readUrlEvent, type UrlAnswer, writeUrlAnswer } from './function-url.ts'
import { functionPlace } from './settings.ts'

const Environment = z.object({
  COGLABEL_PAGE: z.string().min(1).optional().describe('folder of the page; `page` beside the bundle'),
  LAMBDA_TASK_ROOT: z.string().default('.'),
})

const runs = keepReviewedRuns({ cacheFolder: join(tmpdir(), 'coglabel-review'), clock: () => new Date() })

/** Verdicts bear the ARN of who signed. Where nobody had to sign, nothing is answered. */
export async function handler(event: unknown): Promise<UrlAnswer> {
  const { request, signer } = readUrlEvent(event)
  if (signer === null)
    return refuse(403, 'nobody signed this request; give the function URL the type AWS_IAM')
  const { pathname } = new URL(request.url)
  const [, name = '', path = null] = /^\/([^/]+)(\/.*)?$/.exec(pathname) ?? []
  const runId = RunId.safeParse(name)
  if (!runId.success) return refuse(404, 'name a run: /RUN/')
  if (path === null) return { ...refuse(308, ''), headers: { location: `/${runId.data}/` } }
  const store = (await functionPlace()).runStoreOf(runId.data)
  const run = await runs.open(store, { isPageLoad: path === '/' })
  if (run === null) return refuse(404, `there is no run ${runId.data}`)
  const { COGLABEL_PAGE, LAMBDA_TASK_ROOT } = Environment.parse(process.env)
  const readThumbnail = thumbnails(store)
  const app = createReviewApp({
    run,
    page: await readPageFiles(COGLABEL_PAGE ?? join(LAMBDA_TASK_ROOT, 'page')),
    readPicture: readThumbnail,
    readThumbnail,
    token: null,
    cookieName: '',
    who: () => signer.slice(-200),
  })
  const url = new URL(request.url)
  url.pathname = path
  return await writeUrlAnswer(await app.fetch(new Request(url, request)))
}

function thumbnails(store: ObjectStore) {
  return async ({ sha256 }: { sha256: string | null }): Promise<Picture> => {
    const bytes = sha256 === null ? null : await store.get(thumbnailKey(sha256))
    if (bytes !== null) return { bytes, mime: 'image/webp' }
    return { problem: 'no worker kept a picture of this image' }
  }
}

function refuse(statusCode: number, problem: string): UrlAnswer {
  return {
    statusCode,
    headers: { 'content-type': 'text/plain' },
    body: `${problem}\n`,
    isBase64Encoded: false,
  }
}
