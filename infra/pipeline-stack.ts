// The functions around the workers, when they run, and what tells the verbs where everything is.
import { CfnOutput, CustomResource, Duration, Stack, type StackProps } from 'aws-cdk-lib'
import { Rule, Schedule } from 'aws-cdk-lib/aws-events'
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets'
import { FunctionUrlAuthType, type IFunction } from 'aws-cdk-lib/aws-lambda'
import type { Construct } from 'constructs'
import { type Deployment, deploymentVersion } from '../schemas/deployment.ts'
import type { InfraConfig } from './config.ts'
import { pascal } from './data-stack.ts'
import { addFunction, type OurFunction } from './functions.ts'
import { arnOf, type FleetNames, fleetNamesOf, type Names } from './names.ts'
import {
  type Access,
  describerStatements,
  exporterStatements,
  plannerStatements,
  redriverStatements,
  reviewerStatements,
  scalerStatements,
  sealerStatements,
} from './permissions.ts'

/** The longest that Lambda lets a function run. */
const longestSeconds = 900

const roots = {
  planner: new URL('../functions/planner.ts', import.meta.url),
  sealer: new URL('../functions/sealer.ts', import.meta.url),
  scaler: new URL('../functions/scaler.ts', import.meta.url),
  redriver: new URL('../functions/redriver.ts', import.meta.url),
  exporter: new URL('../functions/exporter.ts', import.meta.url),
  reviewer: new URL('../functions/reviewer.ts', import.meta.url),
  describer: new URL('../functions/describer.ts', import.meta.url),
}

/** `everyMinutes` of those that nobody calls. */
export type ScheduledFunction = { name: string; functionName: string; everyMinutes: number | null }

export type PipelineProps = StackProps & { config: InfraConfig; names: Names; dataKeyArn: string | null }

export class PipelineStack extends Stack {
  /** All of them, for alarms. */
  readonly functions: ScheduledFunction[] = []
  readonly #access: Access

  constructor(scope: Construct, id: string, { config, names, dataKeyArn, ...props }: PipelineProps) {
    super(scope, id, props)
    this.#access = { config, names, dataKeyArn }
    const [first] = config.fleets.map((fleet) => fleetNamesOf(config, fleet))
    // At least one fleet is a rule of the settings.
    const firstFleet = first as FleetNames
    const planner = this.#addPlanner(firstFleet)
    const sealer = this.#addSealer()
    const exporter = this.#addExporter()
    if (config.review.isOn) this.#addReviewer(config.review)
    const fleets = config.fleets.map((fleet) => {
      const own = fleetNamesOf(config, fleet)
      const id = config.fleets.length === 1 ? '' : pascal(fleet.name)
      return { scaler: this.#addScaler(id, { fleet, own }), redriver: this.#addRedriver(id, own) }
    })
    this.#addDescription({
      v: deploymentVersion,
      name: config.name,
      region: this.region,
      queueUrl: firstFleet.queueUrl,
      deadLetterQueueUrl: firstFleet.deadLettersUrl,
      labelsBucket: names.labels,
      imageBuckets: [names.images, ...config.sources.map(({ bucket }) => bucket)],
      weightsBucket: names.weights,
      functions: {
        planner: planner.functionName,
        sealer: sealer.functionName,
        exporter: exporter.functionName,
        ...(fleets[0] === undefined
          ? {}
          : { scaler: fleets[0].scaler.functionName, redriver: fleets[0].redriver.functionName }),
      },
      ...(config.workerHourUsd === null ? {} : { workerHourUsd: config.workerHourUsd }),
    })
  }

  #addPlanner(fleet: FleetNames): IFunction {
    return this.#add('Planner', {
      root: roots.planner,
      everyMinutes: this.#access.config.planEveryMinutes,
      statements: plannerStatements(this.#access, fleet),
      timeoutSeconds: longestSeconds,
      memoryMiB: 1024,
      retries: 0,
    })
  }

  /** Ids of a million records take 32 MB (LOG.md, sealing); one shard's text is in memory besides. */
  #addSealer(): IFunction {
    return this.#add('Sealer', {
      root: roots.sealer,
      everyMinutes: this.#access.config.sealEveryMinutes,
      statements: sealerStatements(this.#access),
      timeoutSeconds: longestSeconds,
      memoryMiB: 3008,
      retries: 0,
    })
  }

  #addExporter(): IFunction {
    return this.#add('Exporter', {
      root: roots.exporter,
      statements: exporterStatements(this.#access),
      timeoutSeconds: longestSeconds,
      memoryMiB: 3008,
      diskMiB: 10_240,
      retries: 0,
    })
  }

  /** Whoever asks must sign, and be allowed to by a policy of the account: nobody is by this stack. */
  #addReviewer({ memoryMiB }: InfraConfig['review']): void {
    const reviewer = this.#add('Reviewer', {
      root: roots.reviewer,
      statements: reviewerStatements(this.#access),
      // A run's index is built while the first one waits: half a minute for 100,000 records (LOG.md).
      timeoutSeconds: longestSeconds,
      memoryMiB,
      diskMiB: 10_240,
      beside: 'review/page',
      retries: 0,
    })
    const { url } = reviewer.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM })
    new CfnOutput(this, 'ReviewUrl', {
      value: url,
      description:
        'Review page of a run: this and its id, in requests that are signed for the service lambda',
    })
  }

  #addScaler(
    prefix: string,
    { fleet, own }: { fleet: InfraConfig['fleets'][number]; own: FleetNames },
  ): IFunction {
    const { config, names } = this.#access
    const clusterArn = arnOf('ecs', `cluster/${names.cluster}`)
    return this.#add(`${prefix}Scaler`, {
      functionName: own.scaler,
      root: roots.scaler,
      everyMinutes: 1,
      statements: scalerStatements(this.#access, { fleet: own, clusterArn }),
      environment: {
        ...queueVariables(own),
        COGLABEL_FLEET: own.id,
        COGLABEL_CLUSTER: names.cluster,
        COGLABEL_SPOT_SERVICE: own.spotService,
        COGLABEL_ON_DEMAND_SERVICE: own.onDemandService,
        COGLABEL_IMAGES_PER_SECOND: String(fleet.imagesPerSecond),
        COGLABEL_OBJECTIVE_SECONDS: String(config.objectiveSeconds),
        // Nobody works without a model, so nobody is asked for.
        COGLABEL_MAX_SPOT: String(fleet.model === null ? 0 : fleet.maxSpot),
        COGLABEL_MAX_ON_DEMAND: String(fleet.model === null ? 0 : fleet.maxOnDemand),
      },
      timeoutSeconds: 55,
      memoryMiB: 512,
      // The next minute's look knows more than a second try.
      retries: 0,
    })
  }

  #addRedriver(prefix: string, own: FleetNames): IFunction {
    return this.#add(`${prefix}Redriver`, {
      functionName: own.redriver,
      root: roots.redriver,
      everyMinutes: this.#access.config.redriveEveryMinutes,
      statements: redriverStatements(this.#access, own),
      environment: queueVariables(own),
      timeoutSeconds: 300,
      memoryMiB: 512,
      retries: 0,
    })
  }

  /** CloudFormation has no resource for an object; what it tells this function is written down. */
  #addDescription(deployment: Deployment): void {
    const describer = this.#add('Describer', {
      root: roots.describer,
      statements: describerStatements(this.#access),
      environment: {},
      timeoutSeconds: 60,
      memoryMiB: 256,
      retries: 2,
      isPlaced: false,
    })
    new CustomResource(this, 'Description', {
      serviceToken: describer.functionArn,
      resourceType: 'Custom::CoglabelDeployment',
      serviceTimeout: Duration.minutes(5),
      properties: { deployment: this.toJsonString(deployment) },
    })
  }

  #add(
    id: string,
    {
      isPlaced = true,
      everyMinutes = null,
      environment = {},
      functionName = `${this.#access.config.name}-${id.toLowerCase()}`,
      ...options
    }: Omit<OurFunction, 'config' | 'environment' | 'functionName'> &
      Partial<Pick<OurFunction, 'environment' | 'functionName'>> & {
        isPlaced?: boolean
        everyMinutes?: number | null
      },
  ): IFunction {
    const { config, names } = this.#access
    const added = addFunction(this, id, {
      ...options,
      config,
      functionName,
      environment: isPlaced ? { COGLABEL_PLACE: `s3://${names.labels}`, ...environment } : environment,
    })
    this.functions.push({ name: id, functionName, everyMinutes })
    if (everyMinutes !== null) this.#schedule(id, added, Duration.minutes(everyMinutes))
    return added
  }

  #schedule(id: string, target: IFunction, every: Duration): void {
    new Rule(this, `${id}Schedule`, {
      description: `Every ${every.toMinutes()} min: ${id.toLowerCase()}`,
      schedule: Schedule.rate(every),
      targets: [new LambdaFunction(target, { retryAttempts: 0 })],
    })
  }
}

/** The description of a deployment names the queues of its first fleet; each fleet's functions are told theirs. */
function queueVariables(own: FleetNames): Record<string, string> {
  return { COGLABEL_QUEUE_URL: own.queueUrl, COGLABEL_DEAD_LETTER_QUEUE_URL: own.deadLettersUrl }
}
