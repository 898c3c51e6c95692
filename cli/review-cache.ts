// Where the index of a run folder is kept while somebody looks at it. It does not know what an index is.
import { access, constants, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { makeFolder } from '../dataset/stores/make-folder.ts'
import { systemCode } from '../schemas/system-error.ts'

export const reviewCacheName = '.review'

export type ReviewCache = { folder: string; isReadOnlyRun: boolean; close(): Promise<void> }

/** Where the index of a run folder is kept: in the run, or for as long as this lasts, where nobody may write there. */
export async function openReviewCache(run: string): Promise<ReviewCache> {
  const folder = join(resolve(run), reviewCacheName)
  try {
    await makeFolder(folder)
    await access(folder, constants.W_OK)
    return { folder, isReadOnlyRun: false, close: async () => {} }
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS'].includes(systemCode(error))) throw error
    const aside = await mkdtemp(join(tmpdir(), 'coglabel-review-'))
    const close = async () => await rm(aside, { recursive: true, force: true })
    return { folder: aside, isReadOnlyRun: true, close }
  }
}
