// What becomes of things when their stack is deleted. Everything that holds data asks here.
import { RemovalPolicy } from 'aws-cdk-lib'
import type { InfraConfig } from './config.ts'

/** Of buckets, keys and queues. */
export function removalOfData({ keepData }: Pick<InfraConfig, 'keepData'>): RemovalPolicy {
  return keepData ? RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE : RemovalPolicy.DESTROY
}

/** Logs say how labels came about, and hold none. */
export const removalOfLogs = RemovalPolicy.DESTROY
