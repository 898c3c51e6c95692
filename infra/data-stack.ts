// What holds data: buckets, their key, and the queues with what puts messages into them. Everything else of a deployment
// can be thrown away and made again.
import { CrossStackReferences, Duration, ReferenceStrength, Stack, type StackProps } from 'aws-cdk-lib'
import { Rule } from 'aws-cdk-lib/aws-events'
import { SqsQueue } from 'aws-cdk-lib/aws-events-targets'
import { AnyPrincipal, Effect, PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import { type IKey, Key } from 'aws-cdk-lib/aws-kms'
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  type BucketProps,
  CfnBucket,
  type LifecycleRule,
  ObjectOwnership,
} from 'aws-cdk-lib/aws-s3'
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs'
import type { Construct } from 'constructs'
import { InvariantError } from '../schemas/errors.ts'
import { claimsPrefix } from '../schemas/claim.ts'
import { asBucket } from './as-interface.ts'
import type { FleetConfig, InfraConfig } from './config.ts'
import { bucketArn, fleetNamesOf, type Names } from './names.ts'
import { removalOfData } from './removal.ts'

/** As long as a worker asks for when it says nothing else; each receive of ours says how long. */
const visibilitySeconds = 300
/** The service's limit. */
const retentionDays = 14
/** Interruptions of spot instances count as deliveries too. */
const maxReceives = 8

export type DataProps = StackProps & { config: InfraConfig; names: Names }

export class DataStack extends Stack {
  /** Null where S3 manages the keys. */
  readonly dataKey: IKey | null
  readonly deadLetters: Queue[] = []
  readonly queues: Queue[] = []
  readonly #config: InfraConfig
  readonly #logs: Bucket

  constructor(scope: Construct, id: string, { config, names, ...props }: DataProps) {
    super(scope, id, props)
    this.#config = config
    this.dataKey = config.encryption === 'own-key' ? this.#openKey(names) : null
    this.#logs = this.#addBucket('Logs', {
      bucketName: names.logs,
      // Access logs are only delivered to a bucket that S3 encrypts.
      encryption: BucketEncryption.S3_MANAGED,
      lifecycleRules: [{ id: 'old', expiration: Duration.days(config.logDays) }],
    })
    const images = this.#addDataBucket('Images', { bucketName: names.images })
    const labels = this.#addDataBucket('Labels', {
      bucketName: names.labels,
      lifecycleRules: [
        // What a claim says counts for two hours (dataset/claims.ts).
        {
          id: 'claims',
          prefix: claimsPrefix,
          expiration: Duration.days(1),
          noncurrentVersionExpiration: Duration.days(1),
        },
      ],
    })
    labels.addToResourcePolicy(onlyCreates(names.labels))
    this.#addDataBucket('Weights', { bucketName: names.weights })
    this.#addQueues(images, names)
  }

  #openKey(names: Names): IKey {
    const { dataKeyArn } = this.#config
    if (dataKeyArn !== null) return Key.fromKeyArn(this, 'DataKey', dataKeyArn)
    const key = new Key(this, 'DataKey', {
      description: 'Images, labels and weights',
      alias: names.dataKeyAlias,
      enableKeyRotation: true,
      removalPolicy: removalOfData(this.#config),
    })
    // While a role names it, it is not deleted.
    CrossStackReferences.of(key).produce(ReferenceStrength.STRONG)
    return key
  }

  #addBucket(id: string, props: BucketProps): Bucket {
    return new Bucket(this, id, {
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      removalPolicy: removalOfData(this.#config),
      ...props,
    })
  }

  #addDataBucket(id: string, { lifecycleRules = [], ...props }: BucketProps): Bucket {
    return this.#addBucket(id, {
      versioned: true,
      serverAccessLogsBucket: asBucket(this.#logs),
      serverAccessLogsPrefix: `${id.toLowerCase()}/`,
      ...(this.dataKey === null
        ? { encryption: BucketEncryption.S3_MANAGED }
        : { encryption: BucketEncryption.KMS, encryptionKey: this.dataKey, bucketKeyEnabled: true }),
      lifecycleRules: [...commonRules(this.#config), ...lifecycleRules],
      ...props,
    })
  }

  /** One fleet is told by S3 itself. Of several each has a rule of its own, for S3 tells of a key only once. */
  #addQueues(images: Bucket, names: Names): void {
    const { fleets } = this.#config
    const added = fleets.map((fleet) => ({ fleet, queue: this.#addQueue(fleet) }))
    const bucket = cfnBucketOf(images)
    const [only] = added
    if (added.length === 1 && only !== undefined) {
      const source = { 'aws:SourceArn': bucketArn(names.images) }
      const { policyDependable } = only.queue.addToResourcePolicy(
        new PolicyStatement({
          principals: [new ServicePrincipal('s3.amazonaws.com')],
          actions: ['sqs:SendMessage'],
          resources: [only.queue.queueArn],
          conditions: { ArnEquals: source, StringEquals: { 'aws:SourceAccount': this.account } },
        }),
      )
      // S3 sends a test message to the queue while it is told of it.
      if (policyDependable !== undefined) images.node.addDependency(policyDependable)
      bucket.notificationConfiguration = {
        queueConfigurations: only.fleet.prefixes.map((prefix) => ({
          event: 's3:ObjectCreated:*',
          queue: only.queue.queueArn,
          filter: { s3Key: { rules: [{ name: 'prefix', value: prefix }] } },
        })),
      }
      return
    }
    bucket.notificationConfiguration = { eventBridgeConfiguration: { eventBridgeEnabled: true } }
    for (const { fleet, queue } of added)
      if (fleet.prefixes.length > 0) this.#addRule(fleet, { queue, names })
  }

  #addQueue(fleet: FleetConfig): Queue {
    const names = fleetNamesOf(this.#config, fleet)
    const id = pascal(fleet.name)
    const common = {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(retentionDays),
    }
    const deadLetters = new Queue(this, `${id}DeadLetters`, { ...common, queueName: names.deadLetters })
    const queue = new Queue(this, `${id}Queue`, {
      ...common,
      queueName: names.queue,
      visibilityTimeout: Duration.seconds(visibilitySeconds),
      receiveMessageWaitTime: Duration.seconds(20),
      deadLetterQueue: { queue: deadLetters, maxReceiveCount: maxReceives },
    })
    this.queues.push(queue)
    this.deadLetters.push(deadLetters)
    return queue
  }

  #addRule(fleet: FleetConfig, { queue, names }: { queue: Queue; names: Names }): void {
    const rule = new Rule(this, `${pascal(fleet.name)}Arrivals`, {
      description: `Images that arrive for ${fleet.name}`,
      eventPattern: {
        source: ['aws.s3'],
        detailType: ['Object Created'],
        detail: {
          bucket: { name: [names.images] },
          object: { key: fleet.prefixes.map((prefix) => ({ prefix })) },
        },
      },
    })
    rule.addTarget(new SqsQueue(queue))
  }
}

function commonRules({ noncurrentDays }: InfraConfig): LifecycleRule[] {
  return [
    {
      id: 'left-over',
      abortIncompleteMultipartUploadAfter: Duration.days(2),
      noncurrentVersionExpiration: Duration.days(noncurrentDays),
    },
    { id: 'delete-markers', expiredObjectDeleteMarker: true },
  ]
}

/** Whoever writes below a run must ask S3 to refuse where something is. Uploads in pieces are asked at their end. */
function onlyCreates(labels: string): PolicyStatement {
  return new PolicyStatement({
    sid: 'RunsAreCreateOnly',
    effect: Effect.DENY,
    principals: [new AnyPrincipal()],
    actions: ['s3:PutObject'],
    resources: [`${bucketArn(labels)}/runs/*`],
    conditions: { Null: { 's3:if-none-match': 'true' }, Bool: { 's3:ObjectCreationOperation': 'true' } },
  })
}

function cfnBucketOf(bucket: Bucket): CfnBucket {
  const { defaultChild } = bucket.node
  if (defaultChild instanceof CfnBucket) return defaultChild
  throw new InvariantError('a bucket is no longer made of one CfnBucket')
}

/** `late-night` as `LateNight`: ids of constructs. */
export function pascal(slug: string): string {
  return slug
    .split('-')
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')
}
