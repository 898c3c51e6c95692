// Which operators and element types each execution provider runs itself. A graph for a GPU that falls back to the CPU
// copies its activations over the bus at every such node, so the compiler refuses to make one.
//
// Sources: CPU and WebGPU: probed one operator at a time on onnxruntime-node 1.30.0 (LOG.md, 2026-11-23).
// CUDA: docs/OperatorKernels.md of onnxruntime 1.30, section CUDAExecutionProvider; not run here.
// Shape, and arithmetic on int64 shapes, stay on the CPU on every provider by design and cost nothing.
import { InvariantError } from '../../schemas/errors.ts'
import { allNodes } from './graph.ts'
import type { ElementType, Graph } from './graph.ts'
import type { Target } from '../../schemas/model-manifest.ts'

const floats: readonly ElementType[] = ['float32', 'float16']
const anyType: readonly ElementType[] = ['float32', 'float16', 'uint8', 'int8', 'int32', 'int64']

/** Operators that every provider here runs, with the element types of their first input. */
const common: Record<string, readonly ElementType[]> = {
  'Abs': floats,
  'Add': floats,
  'Cast': anyType,
  'Concat': ['float32', 'float16', 'int64'],
  'Conv': ['float32', 'float16'],
  'Div': floats,
  'Gather': ['float32', 'float16', 'int64'],
  'Gemm': ['float32', 'float16'],
  'Identity': anyType,
  'LayerNormalization': floats,
  'MatMul': floats,
  'Mul': ['float32', 'float16', 'int64'],
  'Reshape': ['float32', 'float16', 'int64'],
  'Shape': anyType,
  'Slice': ['float32', 'float16', 'int64'],
  'Softmax': floats,
  'Split': floats,
  'Squeeze': floats,
  'Sub': floats,
  'Transpose': floats,
  'Unsqueeze': floats,
  'SimplifiedLayerNormalization': floats,
  'com.microsoft.Gelu': floats,
  'com.microsoft.MatMulNBits': floats,
  'com.microsoft.MultiHeadAttention': floats,
  'com.microsoft.QuickGelu': floats,
  'com.microsoft.RotaryEmbedding': floats,
}

const supported: Record<Target, Record<string, readonly ElementType[]>> = {
  cpu: {
    ...common,
    'Concat': [...floats, 'int64', 'uint8'],
    'Sum': floats,
    'com.microsoft.FusedMatMul': ['float32'],
    'com.microsoft.GroupQueryAttention': ['float32'],
    'com.microsoft.MatMulIntegerToFloat': ['uint8'],
    'Add': [...floats, 'int64'],
    'DequantizeLinear': ['uint8', 'int8', 'int4'],
    'Equal': ['int64'],
    'Exp': ['float32'],
    'Greater': ['int64', 'float32'],
    'Identity': [...anyType, 'bool'],
    'If': ['bool'],
    'Loop': ['int64'],
    'Pad': ['float32'],
    'Squeeze': [...floats, 'int64'],
    'Sub': [...floats, 'int64'],
    'Transpose': [...floats, 'int8'],
    'MatMulInteger': ['uint8'],
    'Max': ['float32'],
    'QuantizeLinear': ['float32'],
    'Neg': ['float32'],
    'ReduceMax': ['float32'],
    'ReduceMin': ['float32'],
    'ReduceSum': ['float32'],
    'Unsqueeze': [...floats, 'uint8'],
  },
  cuda: {
    ...common,
    Add: [...floats, 'int64'],
    ArgMax: floats,
    Exp: floats,
    Identity: [...anyType, 'bool'],
    Loop: ['int64'],
    ReduceMax: floats,
    ReduceSum: floats,
  },
  webgpu: common,
}

/** Throws InvariantError naming the first node that the provider would not run. */
export function checkOperators(graph: Graph, target: Target): void {
  for (const node of allNodes(graph)) {
    const name = node.domain === '' ? node.operator : `${node.domain}.${node.operator}`
    const types = supported[target][name]
    const elementType = node.inputs[0]?.elementType ?? 'float32'
    if (types?.includes(elementType) !== true) {
      throw new InvariantError(
        `the ${target} provider does not run ${name} on ${elementType} (node ${node.name} of ${graph.name})`,
      )
    }
  }
}
