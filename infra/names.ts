// What the pieces of a deployment are called. Names are made from the settings alone, so that a policy can name a bucket
// before it exists, and no stack has to wait for another's output. It builds nothing.
import { Aws } from 'aws-cdk-lib'
import type { FleetConfig, InfraConfig } from './config.ts'

export type Names = {
  images: string
  labels: string
  weights: string
  logs: string
  cluster: string
  dataKeyAlias: string
}

/** Pseudo parameters stand for account and region until a stack is deployed. */
export function namesOf({ name, imagesBucket, labelsBucket }: InfraConfig): Names {
  const bucket = (kind: string) => `${name}-${kind}-${Aws.ACCOUNT_ID}-${Aws.REGION}`
  return {
    images: imagesBucket ?? bucket('images'),
    labels: labelsBucket ?? bucket('labels'),
    weights: bucket('weights'),
    logs: bucket('logs'),
    cluster: name,
    dataKeyAlias: `alias/${name}-data`,
  }
}

export type FleetNames = {
  /** Of the fleet in the account: metrics of two deployments must not add up. */
  id: string
  queue: string
  queueUrl: string
  queueArn: string
  deadLetters: string
  deadLettersUrl: string
  deadLettersArn: string
  spotService: string
  onDemandService: string
  scaler: string
  redriver: string
  taskRole: string
}

export function fleetNamesOf({ name }: InfraConfig, fleet: FleetConfig): FleetNames {
  const id = `${name}-${fleet.name}`
  const deadLetters = `${id}-dead-letters`
  return {
    id,
    queue: id,
    queueUrl: queueUrlOf(id),
    queueArn: arnOf('sqs', id),
    deadLetters,
    deadLettersUrl: queueUrlOf(deadLetters),
    deadLettersArn: arnOf('sqs', deadLetters),
    spotService: `${id}-spot`,
    onDemandService: `${id}-on-demand`,
    scaler: `${id}-scaler`,
    redriver: `${id}-redriver`,
    taskRole: `${id}-worker`,
  }
}

export function bucketArn(bucket: string): string {
  return `arn:${Aws.PARTITION}:s3:::${bucket}`
}

export function arnOf(service: string, resource: string): string {
  return `arn:${Aws.PARTITION}:${service}:${Aws.REGION}:${Aws.ACCOUNT_ID}:${resource}`
}

function queueUrlOf(queue: string): string {
  return `https://sqs.${Aws.REGION}.${Aws.URL_SUFFIX}/${Aws.ACCOUNT_ID}/${queue}`
}
