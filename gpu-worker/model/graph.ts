// A graph of operators as plain data. Values are wired by identity; names are paths that say where a value came from
// and matter only to the reader of the file. Knows neither protobuf nor models.
import { InvariantError } from '../../schemas/errors.ts'

export type ElementType = 'float32' | 'float16' | 'uint8' | 'int8' | 'int4' | 'int32' | 'int64' | 'bool'

/** A number, or the name of a size known only at run time. */
export type Dimension = number | string

export type Value = {
  readonly name: string
  readonly elementType: ElementType
  readonly shape?: readonly Dimension[]
}

export type AttributeValue = number | { float: number } | string | readonly number[] | { graph: Subgraph }

/** A way of a branch, or what is repeated: sees every value of the graph around it; constants and weights stand there. */
export type Subgraph = { name: string; inputs: Value[]; nodes: Node[]; outputs: Value[] }

export type Node = {
  name: string
  operator: string
  domain: '' | 'com.microsoft'
  inputs: readonly (Value | null)[]
  outputs: readonly Value[]
  attributes: Readonly<Record<string, AttributeValue>>
}

/** A constant small enough to stand in the graph file. */
export type InlineConstant = { value: Value; dims: readonly number[]; bytes: Uint8Array }

/** A weight in the weights file. `write` streams its bytes, so that no more than a piece is in memory. */
export type ExternalWeight = {
  value: Value
  dims: readonly number[]
  byteCount: number
  write(sink: (piece: Uint8Array) => Promise<void>): Promise<void>
}

export type Graph = {
  name: string
  inputs: Value[]
  outputs: Value[]
  nodes: Node[]
  constants: InlineConstant[]
  weights: ExternalWeight[]
}

export type OpOptions = {
  attributes?: Record<string, AttributeValue>
  domain?: 'com.microsoft'
  /** Element type of the outputs where it differs from the first input's. */
  elementType?: ElementType
  /** Last part of the output's name; the operator's name where nothing better is known. */
  as?: string
}

/** Builds one graph. `scope` gives the same builder with a longer path for names. */
export class GraphBuilder {
  readonly graph: Graph
  readonly #path: string
  readonly #taken: Map<string, number>
  readonly #constants: Map<string, Value>
  readonly #nodes: Node[]

  constructor(
    name: string,
    shared?: {
      graph: Graph
      path: string
      taken: Map<string, number>
      constants: Map<string, Value>
      nodes: Node[]
    },
  ) {
    this.graph = shared?.graph ?? { name, inputs: [], outputs: [], nodes: [], constants: [], weights: [] }
    this.#nodes = shared?.nodes ?? this.graph.nodes
    this.#path = shared?.path ?? ''
    this.#taken = shared?.taken ?? new Map()
    this.#constants = shared?.constants ?? new Map()
  }

  scope(name: string): GraphBuilder {
    const path = this.#path === '' ? name : `${this.#path}/${name}`
    return this.#with({ path })
  }

  /** The same builder, but for what is given. */
  #with({ path = this.#path, nodes = this.#nodes }: { path?: string; nodes?: Node[] }): GraphBuilder {
    const { graph } = this
    return new GraphBuilder(graph.name, {
      graph,
      path,
      taken: this.#taken,
      constants: this.#constants,
      nodes,
    })
  }

  input(name: string, elementType: ElementType, shape: readonly Dimension[]): Value {
    const value = { name: this.#claim(name), elementType, shape }
    this.graph.inputs.push(value)
    return value
  }

  /** Makes a value an output under a name of its own. */
  output(name: string, value: Value, shape: readonly Dimension[]): Value {
    const node = this.#add(
      'Identity',
      [value],
      [{ name: this.#claim(name), elementType: value.elementType, shape }],
      {},
    )
    const output = node.outputs[0] ?? value
    this.graph.outputs.push(output)
    return output
  }

  /** One node with one output. */
  op(operator: string, inputs: readonly (Value | null)[], options: OpOptions = {}): Value {
    return this.ops(operator, inputs, { ...options, names: [options.as ?? operator] })[0] ?? neverEmpty()
  }

  /** One node with several outputs, named in order. An empty name leaves an optional output out. */
  ops(
    operator: string,
    inputs: readonly (Value | null)[],
    options: OpOptions & { names: readonly string[] },
  ): Value[] {
    const first = inputs.find((value) => value !== null)
    const elementType = options.elementType ?? first?.elementType ?? 'float32'
    const outputs = options.names.map((name) => ({
      name: name === '' ? '' : this.#claim(this.#under(name)),
      elementType,
    }))
    this.#add(operator, inputs, outputs, options)
    return outputs
  }

  /** Runs one of two ways, by a bool of one element; both make the named values. The other way costs nothing. */
  branch(
    condition: Value,
    names: readonly string[],
    ways: {
      yes: (builder: GraphBuilder) => readonly Value[]
      no: (builder: GraphBuilder) => readonly Value[]
    },
  ): Value[] {
    // Before the ways are grown, so that what is seen outside has the plain names.
    const claimed = names.map((name) => this.#claim(this.#under(name)))
    const grow = (way: 'yes' | 'no'): Subgraph => {
      const nodes: Node[] = []
      const inner = this.#with({ nodes })
      // A way's outputs have to be made inside it, and under names of their own.
      const outputs = ways[way](inner).map((value) => inner.op('Identity', [value], { as: `${way}_value` }))
      return { name: this.#claim(this.#under(way)), inputs: [], nodes, outputs }
    }
    const [yes, no] = [grow('yes'), grow('no')]
    const outputs = claimed.map((name, index) => ({
      name,
      elementType: yes.outputs[index]?.elementType ?? 'float32',
    }))
    const attributes = { then_branch: { graph: yes }, else_branch: { graph: no } }
    this.#add('If', [condition], outputs, { attributes })
    return outputs
  }

  /**
   * Runs `body` as often as `count` (int64 []) says, told which time it is (int64 []). `state` goes from one time to the next
   * and comes out as it is last; `stacked` is what each time leaves, one above the other: [count, ...].
   */
  loop(
    count: Value,
    name: string,
    {
      state,
      body,
    }: {
      state: readonly Value[]
      body: (
        builder: GraphBuilder,
        at: { index: Value; state: Value[] },
      ) => { state: readonly Value[]; stacked: readonly Value[] }
    },
  ): { state: Value[]; stacked: Value[] } {
    const nodes: Node[] = []
    const inner = this.scope(name).#with({ nodes })
    const index: Value = { name: this.#claim(this.#under(`${name}/index`)), elementType: 'int64', shape: [] }
    const goesOn: Value = {
      name: this.#claim(this.#under(`${name}/goes_on`)),
      elementType: 'bool',
      shape: [],
    }
    const given = state.map(({ elementType }, at) => ({
      name: this.#claim(this.#under(`${name}/state.${at}`)),
      elementType,
    }))
    const stays = inner.op('Identity', [goesOn], { as: 'stays' })
    const left = body(inner, { index, state: given })
    // A loop's outputs have to be made inside it, each by a node of its own.
    const made = [...left.state, ...left.stacked].map((value) =>
      inner.op('Identity', [value], { as: 'left' }),
    )
    const graph = {
      name: this.#claim(this.#under(`${name}/body`)),
      inputs: [index, goesOn, ...given],
      nodes,
      outputs: [stays, ...made],
    }
    const outputs = made.map(({ elementType }, at) => ({
      name: this.#claim(this.#under(`${name}/${at < state.length ? 'last' : 'all'}.${at}`)),
      elementType,
    }))
    this.#add('Loop', [count, null, ...state], outputs, { attributes: { body: { graph } } })
    return { state: outputs.slice(0, state.length), stacked: outputs.slice(state.length) }
  }

  int64(numbers: readonly number[], dims: readonly number[] = [numbers.length]): Value {
    const bytes = new Uint8Array(BigInt64Array.from(numbers, BigInt).buffer)
    return this.#constant(`int64/${numbers.join(',')}/${dims.join('x')}`, {
      elementType: 'int64',
      dims,
      bytes,
    })
  }

  float32(numbers: readonly number[], dims: readonly number[] = [numbers.length]): Value {
    const bytes = new Uint8Array(Float32Array.from(numbers).buffer)
    return this.#constant(`float32/${numbers.join(',')}/${dims.join('x')}`, {
      elementType: 'float32',
      dims,
      bytes,
    })
  }

  int8(numbers: readonly number[], dims: readonly number[]): Value {
    const bytes = new Uint8Array(Int8Array.from(numbers).buffer)
    return this.#constant(`int8/${numbers.join(',')}/${dims.join('x')}`, { elementType: 'int8', dims, bytes })
  }

  weight(name: string, weight: Omit<ExternalWeight, 'value'> & { elementType: ElementType }): Value {
    const value = {
      name: this.#claim(this.#under(name)),
      elementType: weight.elementType,
      shape: weight.dims,
    }
    this.graph.weights.push({ value, dims: weight.dims, byteCount: weight.byteCount, write: weight.write })
    return value
  }

  /** Constants are named by type and value, so each stands in the graph once. */
  #constant(
    key: string,
    { elementType, dims, bytes }: { elementType: ElementType; dims: readonly number[]; bytes: Uint8Array },
  ): Value {
    const known = this.#constants.get(key)
    if (known !== undefined) return known
    const value = {
      name: this.#claim(`constants/${key.length > 60 ? `${key.slice(0, 57)}...` : key}`),
      elementType,
      shape: dims,
    }
    this.graph.constants.push({ value, dims, bytes })
    this.#constants.set(key, value)
    return value
  }

  #add(
    operator: string,
    inputs: readonly (Value | null)[],
    outputs: readonly Value[],
    options: OpOptions,
  ): Node {
    const node = {
      name: this.#claim(this.#under(`${operator}_node`)),
      operator,
      domain: options.domain ?? ('' as const),
      inputs,
      outputs,
      attributes: options.attributes ?? {},
    }
    this.#nodes.push(node)
    return node
  }

  #under(name: string): string {
    return this.#path === '' ? name : `${this.#path}/${name}`
  }

  #claim(name: string): string {
    const count = this.#taken.get(name) ?? 0
    this.#taken.set(name, count + 1)
    return count === 0 ? name : this.#claim(`${name}.${count}`)
  }
}

/** All nodes, those of branches and loops too. */
export function allNodes({ nodes }: { nodes: readonly Node[] }): Node[] {
  return nodes.flatMap((node) => [
    node,
    ...Object.values(node.attributes).flatMap((value) =>
      typeof value === 'object' && 'graph' in value ? allNodes(value.graph) : [],
    ),
  ])
}

function neverEmpty(): never {
  throw new InvariantError('a node was made without an output')
}
