// The CDK app, run by the CLI (`npx cdk synth`): settings in, five stacks out. It only wires.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { App, Tags, Validations } from 'aws-cdk-lib'
import { AwsSolutionsChecks } from 'cdk-nag'
import { UserError } from '../schemas/errors.ts'
import { ComputeStack } from './compute-stack.ts'
import { type InfraConfig, parseConfig } from './config.ts'
import { DataStack } from './data-stack.ts'
import { acknowledge } from './nag-acknowledgements.ts'
import { namesOf } from './names.ts'
import { NetworkStack } from './network-stack.ts'
import { ObserveStack } from './observe-stack.ts'
import { PipelineStack } from './pipeline-stack.ts'

export type Stacks = {
  app: App
  network: NetworkStack
  data: DataStack
  compute: ComputeStack
  pipeline: PipelineStack
  observe: ObserveStack
}

/** Builds the stacks; `app.synth()` then holds them against all rules and writes them. */
export function buildApp(app: App, config: InfraConfig): Stacks {
  const stacks = buildStacks(app, config)
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app))
  acknowledge(stacks, config)
  return stacks
}

/** The stacks alone, with nothing acknowledged. */
export function buildStacks(app: App, config: InfraConfig): Stacks {
  const names = namesOf(config)
  const common = (part: string) => ({ config, names, stackName: `${config.name}-${part}` })
  const network = new NetworkStack(app, 'Network', common('network'))
  const data = new DataStack(app, 'Data', common('data'))
  const dataKeyArn = data.dataKey?.keyArn ?? null
  const { vpc, subnets, workerGroup } = network
  const workers = { vpc, subnets, workerGroup, dataKeyArn }
  const compute = new ComputeStack(app, 'Compute', { ...common('compute'), ...workers })
  const pipeline = new PipelineStack(app, 'Pipeline', { ...common('pipeline'), dataKeyArn })
  const functions = pipeline.functions
  const observe = new ObserveStack(app, 'Observe', { ...common('observe'), functions })
  // Names are made up front, so nothing else says what has to be there first.
  compute.addStackDependency(network)
  for (const later of [compute, pipeline]) later.addStackDependency(data)
  for (const earlier of [compute, pipeline]) observe.addStackDependency(earlier)
  Tags.of(app).add('deployment', config.name)
  return { app, network, data, compute, pipeline, observe }
}

/** The file that `-c config=FILE` names; without one, the defaults. */
function readSettings(path: unknown): unknown {
  if (path === undefined) return {}
  if (typeof path !== 'string')
    throw new UserError(`-c config is ${JSON.stringify(path)}; give the path of a JSON file`)
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UserError(`the settings ${path} cannot be read: ${reason}; give a JSON file`, { cause })
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const app = new App()
    buildApp(app, parseConfig(readSettings(app.node.tryGetContext('config')))).app.synth()
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    console.error(`coglabel: ${error.message}`)
    process.exitCode = 2
  }
}
