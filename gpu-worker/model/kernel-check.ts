// A graph of one integer product whose partial sums are as large as they get. The engine runs it at load and compares
// with exact arithmetic: x64 without VNNI adds two byte products in 16 bits, which saturates.
import { GraphBuilder } from './graph.ts'
import type { Graph } from './graph.ts'
import type { Target } from '../../schemas/model-manifest.ts'

/** codes uint8 [T, 256] times a constant int8 [256, 64] of +127 and -127 by column: sums int32 [T, 64]. */
export function kernelCheckGraph(): Graph {
  const [depth, width] = [256, 64]
  const builder = new GraphBuilder('kernel-check')
  const codes = builder.input('codes', 'uint8', ['T', depth])
  const zeroPoint = builder.input('activation_zero', 'uint8', [])
  const weight = builder.int8(
    Array.from({ length: depth * width }, (_, index) => (index % 2 === 0 ? 127 : -127)),
    [depth, width],
  )
  builder.output('sums', builder.op('MatMulInteger', [codes, weight, zeroPoint], { elementType: 'int32' }), [
    'T',
    width,
  ])
  return builder.graph
}

/** Products of bytes can saturate: those of weights in int8, and on the CPU those of a cache in bytes. */
export function needsKernelCheck(target: Target): boolean {
  return target === 'cpu'
}
