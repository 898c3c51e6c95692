// A visual expert stored as low-rank additions to the language expert: names, shapes and matrices. Knows no graph.
//
// Where `X.weight` of a visual expert would stand (`...vision_expert_query_key_value`, `...vision_mlp.up_proj`), such a
// checkpoint has `X.lora_A.weight` [r, in] and `X.lora_B.weight` [out, r], as PEFT names them. The expert's matrix is
// then that of the language expert plus B A; PEFT's factor alpha / r is multiplied into B.
import type { Checkpoint } from '../checkpoint.ts'
import type { LinearOptions } from '../linear.ts'
import { matrixOf } from '../matrix.ts'

type ExpertMatrix = Pick<LinearOptions, 'matrix' | 'addition' | 'reportedAs'>

/** The matrix of a tensor; of a low-rank expert the language expert's, which both share, and the factors. */
export function expertMatrix(checkpoint: Checkpoint, tensor: string): ExpertMatrix {
  const names = factorNames(tensor)
  if (!checkpoint.shapes.has(names.down)) return { matrix: matrixOf(checkpoint, tensor) }
  return {
    matrix: matrixOf(checkpoint, languageTensor(tensor)),
    addition: { down: matrixOf(checkpoint, names.down), up: matrixOf(checkpoint, names.up) },
    reportedAs: tensor,
  }
}

/** Changes what a checkpoint must have: factors instead of a matrix, wherever it has an A for one of a visual expert. */
export function expectFactors(
  expected: Map<string, readonly number[]>,
  shapes: ReadonlyMap<string, readonly number[]>,
): void {
  for (const [tensor, [rows = 0, columns = 0]] of expected) {
    const { down, up } = factorNames(tensor)
    const rank = shapes.get(down)?.[0]
    if (rank === undefined || shapes.has(tensor) || languageTensor(tensor) === tensor) continue
    expected.delete(tensor)
    expected.set(down, [rank, columns])
    expected.set(up, [rows, rank])
  }
}

function factorNames(tensor: string): { down: string; up: string } {
  const module = tensor.replace(/\.weight$/, '')
  return { down: `${module}.lora_A.weight`, up: `${module}.lora_B.weight` }
}

function languageTensor(tensor: string): string {
  return tensor.replace('.vision_expert_', '.language_expert_').replace('.vision_mlp.', '.language_mlp.')
}
