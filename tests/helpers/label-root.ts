// The root of `label` and its like for tests: an engine, a terminal nobody looks at, and what was printed.
import type { LabelRoot } from '../../cli/label.ts'
import type { Engine } from '../../gpu-worker/engine/contract.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'

export function openLabelRoot(
  engine: Engine,
  { clock = () => new Date() }: { clock?: () => Date } = {},
): { root: LabelRoot; printed: string[] } {
  const printed: string[] = []
  const root: LabelRoot = {
    openEngine: async () => engine,
    openDecoder: () => decodeHere,
    print: (text) => void printed.push(text),
    progress: { isTerminal: false, columns: 80, write: () => {} },
    clock,
    onInterrupt: () => () => {},
  }
  return { root, printed }
}
