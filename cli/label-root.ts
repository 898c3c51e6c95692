// `coglabel label` and `plan` tied to this process: its terminal, its clock, its interrupts and the real engine.
import { configureDecoder } from '../gpu-worker/image/decode.ts'
import { openDecoderPool } from '../gpu-worker/image/decoder-pool.ts'
import { onInterrupt } from '../gpu-worker/process/on-interrupt.ts'
import { runLabel, type LabelRoot } from './label.ts'
import { openChosenEngine } from './open-engine.ts'
import { runPlan } from './plan.ts'

/** Runs the verb in this process; returns the exit code. */
export async function runLabelHere(args: readonly string[]): Promise<number> {
  return await runLabel(args, labelRootHere())
}

/** This process as the root of labelling. */
export function labelRootHere(): LabelRoot {
  configureDecoder({ threads: 1 })
  return { ...processRoot(), openEngine: openChosenEngine }
}

/** Runs `plan` in this process; returns the exit code. */
export async function runPlanHere(args: readonly string[]): Promise<number> {
  configureDecoder({ threads: 1 })
  return await runPlan(args, { ...processRoot(), openEngine: openChosenEngine })
}

/** Everything of a LabelRoot but the engine. */
export function processRoot() {
  return {
    openDecoder: openDecoderPool,
    print: (text: string) => void process.stdout.write(`${text}\n`),
    progress: {
      isTerminal: process.stderr.isTTY,
      // Read anew each time: windows are resized. A terminal that nobody has told its size says 0.
      get columns() {
        return process.stderr.columns || 80
      },
      write: (text: string) => void process.stderr.write(text),
    },
    clock: () => new Date(),
    onInterrupt,
  }
}
