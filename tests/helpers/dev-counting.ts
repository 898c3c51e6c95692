// `coglabel dev` with the counting engine as a process that a test can interrupt, and its worker: a model says which. With
// DEV_ANSWER in the environment, the engine says that and nothing else.
import { runDev } from '../../cli/dev.ts'
import { runDevWorker } from '../../cli/dev/worker.ts'
import { processVerbRoot } from '../../cli/verb-root.ts'
import { openCountingEngine } from './counting-engine.ts'

const answer = process.env['DEV_ANSWER']

if (process.env['COGLABEL_MODEL'] === 'counting') {
  process.exitCode = await runDevWorker(async () =>
    openCountingEngine(answer === undefined ? {} : { answer: () => answer }),
  )
} else {
  process.exitCode = await runDev(process.argv.slice(2), {
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
}
