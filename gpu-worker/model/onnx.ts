// Writes a graph as ONNX protobuf bytes, weights in a file beside it. The only file of model/ that knows protobuf.
// Field numbers: onnx/onnx.proto of ONNX 1.16. Opset 21 and IR 10 hold everything used here.
import protobuf from 'protobufjs/minimal.js'
import type {
  AttributeValue,
  Dimension,
  ElementType,
  ExternalWeight,
  Graph,
  InlineConstant,
  Node,
  Subgraph,
  Value,
} from './graph.ts'

const irVersion = 10
const opsetVersion = 21

/** TensorProto.DataType */
const dataType: Record<ElementType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  int4: 22,
}

/** AttributeProto.AttributeType */
const attributeType = { float: 1, int: 2, string: 3, graph: 5, ints: 7 } as const

export type WeightPlace = { fileName: string; offset: number }

type Write = (writer: protobuf.Writer) => void

/** Serializes a graph as a ModelProto. `places` says where each external weight lies. */
export function encodeModel(graph: Graph, places: ReadonlyMap<Value, WeightPlace>): Uint8Array {
  const writer = protobuf.Writer.create()
  int(writer, 1, irVersion)
  text(writer, 2, 'coglabel')
  message(writer, 7, (inner) => writeGraph(inner, graph, places))
  for (const [domain, version] of [
    ['', opsetVersion],
    ['com.microsoft', 1],
  ] as const) {
    message(writer, 8, (inner) => {
      text(inner, 1, domain)
      int(inner, 2, version)
    })
  }
  return writer.finish()
}

/**
 * Gives a serialized model more outputs: values that are there already, by name.
 * Protobuf merges a repeated message field by appending, so the new outputs are simply written behind the model
 * (protobuf encoding guide, "Last One Wins": embedded messages are merged).
 */
export function appendOutputs(model: Uint8Array, values: readonly Value[]): Uint8Array {
  const writer = protobuf.Writer.create()
  message(writer, 7, (inner) => {
    for (const value of values) message(inner, 12, (output) => writeValueInfo(output, value))
  })
  return Buffer.concat([model, writer.finish()])
}

function writeGraph(writer: protobuf.Writer, graph: Graph, places: ReadonlyMap<Value, WeightPlace>): void {
  for (const node of graph.nodes) message(writer, 1, (inner) => writeNode(inner, node))
  text(writer, 2, graph.name)
  for (const constant of graph.constants) message(writer, 5, (inner) => writeConstant(inner, constant))
  for (const weight of graph.weights)
    message(writer, 5, (inner) => writeWeight(inner, weight, places.get(weight.value)))
  for (const value of graph.inputs) message(writer, 11, (inner) => writeValueInfo(inner, value))
  for (const value of graph.outputs) message(writer, 12, (inner) => writeValueInfo(inner, value))
}

function writeSubgraph(writer: protobuf.Writer, { name, inputs, nodes, outputs }: Subgraph): void {
  for (const node of nodes) message(writer, 1, (inner) => writeNode(inner, node))
  text(writer, 2, name)
  for (const value of inputs) message(writer, 11, (inner) => writeValueInfo(inner, value))
  for (const value of outputs) message(writer, 12, (inner) => writeValueInfo(inner, value))
}

function writeNode(writer: protobuf.Writer, node: Node): void {
  for (const input of node.inputs) text(writer, 1, input?.name ?? '')
  for (const output of node.outputs) text(writer, 2, output.name)
  text(writer, 3, node.name)
  text(writer, 4, node.operator)
  for (const [name, value] of Object.entries(node.attributes))
    message(writer, 5, (inner) => writeAttribute(inner, name, value))
  if (node.domain !== '') text(writer, 7, node.domain)
}

function writeAttribute(writer: protobuf.Writer, name: string, value: AttributeValue): void {
  text(writer, 1, name)
  if (typeof value === 'number') {
    int(writer, 3, value)
    int(writer, 20, attributeType.int)
  } else if (typeof value === 'string') {
    text(writer, 4, value)
    int(writer, 20, attributeType.string)
  } else if ('float' in value) {
    writer.uint32((2 << 3) | 5).float(value.float)
    int(writer, 20, attributeType.float)
  } else if ('graph' in value) {
    message(writer, 6, (inner) => writeSubgraph(inner, value.graph))
    int(writer, 20, attributeType.graph)
  } else {
    for (const element of value) int(writer, 8, element)
    int(writer, 20, attributeType.ints)
  }
}

function writeConstant(writer: protobuf.Writer, { value, dims, bytes }: InlineConstant): void {
  for (const size of dims) int(writer, 1, size)
  int(writer, 2, dataType[value.elementType])
  text(writer, 8, value.name)
  writer.uint32((9 << 3) | 2).bytes(bytes)
}

function writeWeight(writer: protobuf.Writer, weight: ExternalWeight, place: WeightPlace | undefined): void {
  for (const size of weight.dims) int(writer, 1, size)
  int(writer, 2, dataType[weight.value.elementType])
  text(writer, 8, weight.value.name)
  const entries = {
    location: place?.fileName ?? '',
    offset: String(place?.offset ?? 0),
    length: String(weight.byteCount),
  }
  for (const [key, value] of Object.entries(entries)) {
    message(writer, 13, (inner) => {
      text(inner, 1, key)
      text(inner, 2, value)
    })
  }
  int(writer, 14, 1) // data_location EXTERNAL
}

function writeValueInfo(writer: protobuf.Writer, value: Value): void {
  text(writer, 1, value.name)
  message(writer, 2, (type) =>
    message(type, 1, (tensor) => {
      int(tensor, 1, dataType[value.elementType])
      const { shape } = value
      if (shape !== undefined) message(tensor, 2, (inner) => writeShape(inner, shape))
    }),
  )
}

function writeShape(writer: protobuf.Writer, shape: readonly Dimension[]): void {
  for (const size of shape) {
    message(writer, 1, (inner) => {
      if (typeof size === 'number') int(inner, 1, size)
      else text(inner, 2, size)
    })
  }
}

function message(writer: protobuf.Writer, field: number, write: Write): void {
  writer.uint32((field << 3) | 2).fork()
  write(writer)
  writer.ldelim()
}

function text(writer: protobuf.Writer, field: number, value: string): void {
  writer.uint32((field << 3) | 2).string(value)
}

function int(writer: protobuf.Writer, field: number, value: number): void {
  writer.uint32(field << 3).int64(value)
}
