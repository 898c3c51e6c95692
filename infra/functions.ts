// A function of ours as a Lambda: bundled with the SDK that it was tested with, with a role and a log of its own.
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Duration, Size } from 'aws-cdk-lib'
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import { Architecture, Runtime } from 'aws-cdk-lib/aws-lambda'
import { type ICommandHooks, LogLevel, NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs'
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs'
import type { Construct } from 'constructs'
import type { InfraConfig } from './config.ts'
import { removalOfLogs } from './removal.ts'

export type OurFunction = {
  config: InfraConfig
  functionName: string
  /** A file of functions/. */
  root: URL
  statements: readonly PolicyStatement[]
  environment: Readonly<Record<string, string>>
  timeoutSeconds: number
  memoryMiB: number
  /** Of the temporary folder. */
  diskMiB?: number
  /** A folder of the repository that lies beside the bundle, under its own name. */
  beside?: string
  /** Tries again after a failure when nobody waits for the answer. */
  retries: 0 | 1 | 2
}

export function addFunction(scope: Construct, id: string, options: OurFunction): NodejsFunction {
  const {
    config,
    functionName,
    root,
    statements,
    timeoutSeconds,
    memoryMiB,
    diskMiB = 512,
    retries,
  } = options
  const logGroup = new LogGroup(scope, `${id}Log`, {
    logGroupName: `/coglabel/${functionName}`,
    // The numbers of the setting are those of the enumeration.
    retention: config.logDays as RetentionDays,
    removalPolicy: removalOfLogs,
  })
  const role = new Role(scope, `${id}Role`, {
    description: `What the function ${functionName} may do`,
    assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
    inlinePolicies: {
      own: new PolicyDocument({
        statements: [
          ...statements,
          new PolicyStatement({
            actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
            resources: [logGroup.logGroupArn],
          }),
        ],
      }),
    },
  }).withoutPolicyUpdates()
  return new NodejsFunction(scope, id, {
    functionName,
    entry: fileURLToPath(root),
    projectRoot: fileURLToPath(new URL('..', import.meta.url)),
    depsLockFilePath: fileURLToPath(new URL('../package-lock.json', import.meta.url)),
    handler: 'handler',
    runtime: Runtime.NODEJS_24_X,
    architecture: Architecture.ARM_64,
    role,
    logGroup,
    environment: { ...options.environment, NODE_OPTIONS: '--enable-source-maps' },
    timeout: Duration.seconds(timeoutSeconds),
    memorySize: memoryMiB,
    ephemeralStorageSize: Size.mebibytes(diskMiB),
    retryAttempts: retries,
    awsSdkConnectionReuse: false,
    bundling: {
      format: OutputFormat.CJS,
      target: 'node24',
      // Lambda brings an SDK of its own, of whatever release.
      externalModules: [],
      bundleAwsSDK: true,
      sourceMap: true,
      sourcesContent: false,
      logLevel: LogLevel.ERROR,
      ...(options.beside === undefined ? {} : { commandHooks: copiesOf(options.beside) }),
    },
  })
}

/** A bundle holds code alone. Node copies, so that it is the same on every system. */
export function copiesOf(folder: string): ICommandHooks {
  const script = "require('node:fs').cpSync(process.argv[1], process.argv[2], { recursive: true })"
  return {
    beforeBundling: () => [],
    beforeInstall: () => [],
    afterBundling: (repository, bundle) => [
      `node -e "${script}" "${repository}/${folder}" "${bundle}/${basename(folder)}"`,
    ],
  }
}
