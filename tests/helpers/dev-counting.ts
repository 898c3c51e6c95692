// `coglabel dev` with the counting engine as a process that a test can interrupt, and its worker: a model says which. With
// DEV_ANSWER in the environment, the engine says that and nothing else; with DEV_BROKEN it cannot be opened.
import { runDev } from '../../cli/dev.ts'
import { runDevWorker } from '../../cli/dev/worker.ts'
import { explainError } from '../../cli/explain-error.ts'
import { processVerbRoot } from '../../cli/verb-root.ts'
import { UserError } from '../../schemas/errors.ts'
import { openCountingEngine } from './counting-engine.ts'

const answer = process.env['DEV_ANSWER']

if (process.env['COGLABEL_MODEL'] === 'counting') {
  process.exitCode = await runDevWorker(async () => {
    if (process.env['DEV_BROKEN'] !== undefined) throw new UserError('the model is torn')
    return openCountingEngine(answer === undefined ? {} : { answer: () => answer })
  })
} else {
  const ended = runDev(process.argv.slice(2), {
    ...processVerbRoot(),
    workerPath: import.meta.filename,
    async chooseModel() {
      const { model, template, capabilities } = openCountingEngine().info
      return {
        folder: 'counting',
        chosen: { model, template, capabilities: [...capabilities], isPushed: false },
      }
    },
  })
  process.exitCode = await ended.catch((error: unknown) => {
    const { message, exitCode } = explainError(error, { verb: 'dev', usage: null })
    console.error(message ?? error)
    return exitCode
  })
}
