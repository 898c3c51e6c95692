// The native runtime: loads a graph and runs it. The only file that imports onnxruntime-node.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import type { Target } from '../../schemas/model-manifest.ts'

export type HostTensor =
  | { type: 'float32'; data: Float32Array; dims: readonly number[] }
  | { type: 'int64'; data: BigInt64Array; dims: readonly number[] }
  | { type: 'int32'; data: Int32Array; dims: readonly number[] }
  | { type: 'uint8'; data: Uint8Array; dims: readonly number[] }
  | { type: 'int8'; data: Int8Array; dims: readonly number[] }

/** A tensor that lies on the session's device; what is in it can only be fed again. */
export type DeviceTensor = { type: 'device'; held: ort.Tensor }

export type GraphTensor = HostTensor | DeviceTensor

export type Session = {
  readonly inputNames: ReadonlySet<string>
  /** Runs the graph and returns the named outputs. Blocks the thread while it runs. Inputs in host memory are not copied. */
  run(
    feeds: Readonly<Record<string, GraphTensor>>,
    outputNames: readonly string[],
  ): Promise<Record<string, GraphTensor>>
  close(): Promise<void>
}

/** Bytes of a run's tensors: of those in host memory that went in and came out, and of outputs that stay on the device. */
export type Traffic = { fed: number; fetched: number; held: number }

export type SessionOptions = {
  /** The graph: a path, or bytes whose weights lie in `weightsFolder`. */
  graph: string | { bytes: Uint8Array; weightsFolder: string }
  threads?: number
  /** The CPU when left out. */
  device?: Target
  /** Outputs that stay on the device, where the runtime can hold them for us: on WebGPU. */
  heldOutputs?: readonly string[]
  /** Told after each run what it moved. */
  onTraffic?: (traffic: Traffic) => void
  /** Writes the optimized graph and its weights, packed for this CPU, into a folder while loading. */
  saveOptimized?: { folder: string; graph: string }
  /** Start of the name of a file that takes each node's times, written when the session is closed. */
  profilePrefix?: string
}

export const runtimeName = 'onnxruntime-node'
export const runtimeVersion = ort.env.versions.common

/** Loads a graph on a device, the whole of it. Throws UserError when the runtime refuses the file. */
export async function openSession({
  graph,
  threads = availableParallelism(),
  device = 'cpu',
  heldOutputs = [],
  onTraffic,
  saveOptimized,
  profilePrefix,
}: SessionOptions): Promise<Session> {
  const options: ort.InferenceSession.SessionOptions = {
    executionProviders: [device],
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    ...(device === 'webgpu' && heldOutputs.length > 0
      ? { preferredOutputLocation: Object.fromEntries(heldOutputs.map((name) => [name, 'gpu-buffer'])) }
      : {}),
    ...(profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix }),
    ...(saveOptimized === undefined ? {} : saveOptions(saveOptimized)),
  }
  const session = await load(graph, options, device).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UserError(
      `the runtime cannot load the compiled graph${device === 'cpu' ? '' : ` on ${device}`}: ${reason}; compile the model again`,
      {
        cause,
      },
    )
  })
  return {
    inputNames: new Set(session.inputNames),
    run: (feeds, outputNames) => run(session, { feeds, outputNames, onTraffic }),
    close: () => {
      if (profilePrefix !== undefined) session.endProfiling()
      return session.release()
    },
  }
}

/** Gives back what a tensor holds on a device. */
export function freeTensor(tensor: GraphTensor): void {
  if (tensor.type === 'device') tensor.held.dispose()
}

/** x + x, one number: the smallest graph that a provider has to run itself (ONNX, opset 17). */
const additionGraph =
  'CAg6OQoOCgF4CgF4EgF5IgNBZGQSBXByb2JlWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUICEBE='

/** Adds two numbers on a device. Rejects with the runtime's own words where it cannot. */
export async function tryDevice(device: Target): Promise<void> {
  const options = { executionProviders: [device], logSeverityLevel: 4 as const, ...withoutFallback(device) }
  const session = await ort.InferenceSession.create(Buffer.from(additionGraph, 'base64'), options)
  const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.of(2), [1]) })
  if (y?.data[0] !== 4) throw new InvariantError(`2 + 2 came out as ${String(y?.data[0])} on ${device}`)
  await session.release()
}

/** What a device cannot run shall fail and not move to the CPU. */
function withoutFallback(
  device: Target,
  { session = {}, ...rest }: { session?: object } = {},
): Pick<ort.InferenceSession.SessionOptions, 'extra'> {
  const strict = device === 'cpu' ? {} : { disable_cpu_ep_fallback: '1' }
  return { extra: { ...rest, session: { ...session, ...strict } } }
}

/**
 * The runtime starts only what is larger than a mebibyte on a page of its own. Behind tensors of odd sizes smaller packed
 * matrices lie askew, and its float kernels then end the process; so those stay inside the graph and are packed at load.
 */
const leastMappedBytes = 2 ** 20 + 1

function saveOptions({
  folder,
  graph,
}: {
  folder: string
  graph: string
}): Partial<ort.InferenceSession.SessionOptions> {
  const session = {
    optimized_model_external_initializers_file_name: graph.replace(/\.onnx$/, '.weights'),
    optimized_model_external_initializers_min_size_in_bytes: String(leastMappedBytes),
    save_external_prepacked_constant_initializers: '1',
  }
  return { optimizedModelFilePath: join(folder, graph), extra: { session } }
}

function load(
  graph: SessionOptions['graph'],
  options: ort.InferenceSession.SessionOptions,
  device: Target,
): Promise<ort.InferenceSession> {
  if (typeof graph === 'string')
    return ort.InferenceSession.create(graph, { ...options, ...withoutFallback(device, options.extra) })
  const extra = { session: { model_external_initializers_file_folder_path: graph.weightsFolder } }
  return ort.InferenceSession.create(graph.bytes, { ...options, ...withoutFallback(device, extra) })
}

type Run = {
  feeds: Readonly<Record<string, GraphTensor>>
  outputNames: readonly string[]
  onTraffic: SessionOptions['onTraffic']
}

async function run(
  session: ort.InferenceSession,
  { feeds, outputNames, onTraffic }: Run,
): Promise<Record<string, GraphTensor>> {
  const inputs: Record<string, ort.Tensor> = {}
  for (const name of session.inputNames) {
    const tensor = feeds[name]
    if (tensor === undefined) throw new InvariantError(`the graph's input ${name} was not fed`)
    inputs[name] = toRuntimeTensor(tensor)
  }
  const results = await session.run(inputs, outputNames)
  onTraffic?.(trafficOf(Object.values(inputs), Object.values(results)))
  return Object.fromEntries(outputNames.map((name) => [name, fromRuntimeTensor(name, results[name])]))
}

function trafficOf(inputs: readonly ort.Tensor[], outputs: readonly ort.Tensor[]): Traffic {
  const isHeld = ({ location }: ort.Tensor): boolean => location === 'gpu-buffer'
  return {
    fed: bytesOf(inputs.filter((tensor) => !isHeld(tensor))),
    fetched: bytesOf(outputs.filter((tensor) => !isHeld(tensor))),
    held: bytesOf(outputs.filter(isHeld)),
  }
}

function bytesOf(tensors: readonly ort.Tensor[]): number {
  // Held tensors have no data here to be measured; what the graphs hold is float32.
  return tensors.reduce(
    (sum, tensor) =>
      sum +
      (tensor.location === 'cpu' && ArrayBuffer.isView(tensor.data)
        ? tensor.data.byteLength
        : 4 * tensor.size),
    0,
  )
}

function toRuntimeTensor(tensor: GraphTensor): ort.Tensor {
  switch (tensor.type) {
    case 'device':
      return tensor.held
    case 'float32':
      return new ort.Tensor('float32', tensor.data, tensor.dims)
    case 'int64':
      return new ort.Tensor('int64', tensor.data, tensor.dims)
    case 'int32':
      return new ort.Tensor('int32', tensor.data, tensor.dims)
    case 'uint8':
      return new ort.Tensor('uint8', tensor.data, tensor.dims)
    case 'int8':
      return new ort.Tensor('int8', tensor.data, tensor.dims)
  }
}

function fromRuntimeTensor(name: string, tensor: ort.OnnxValue | undefined): GraphTensor {
  if (tensor?.location === 'gpu-buffer') return { type: 'device', held: tensor }
  const data = tensor?.data
  const dims = tensor?.dims ?? []
  if (data instanceof Float32Array) return { type: 'float32', data, dims }
  if (data instanceof BigInt64Array) return { type: 'int64', data, dims }
  if (data instanceof Int32Array) return { type: 'int32', data, dims }
  if (data instanceof Int8Array) return { type: 'int8', data, dims }
  if (data instanceof Uint8Array) return { type: 'uint8', data, dims }
  throw new InvariantError(`the graph's output ${name} is missing or of an unknown type`)
}
