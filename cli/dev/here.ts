// `coglabel dev` tied to this process: its terminal, the real models and the real worker.
import { fileURLToPath } from 'node:url'
import { chooseModel } from '../choose-model.ts'
import { runDev } from '../dev.ts'
import { findCompiledModel } from '../open-model.ts'
import { processVerbRoot } from '../verb-root.ts'

/** Runs the verb in this process; returns the exit code. */
export async function runDevHere(args: readonly string[]): Promise<number> {
  const root = processVerbRoot()
  return await runDev(args, {
    ...root,
    workerPath: fileURLToPath(new URL('./worker.ts', import.meta.url)),
    async chooseModel(choice, place) {
      let hasSaid = false
      const onCompile = () => {
        if (!hasSaid) root.tell('compiling the model (once; it is kept for next time)')
        hasSaid = true
      }
      const folder = await findCompiledModel({ modelFolder: choice, onCompile })
      return { folder, chosen: await chooseModel(folder, place) }
    },
  })
}
