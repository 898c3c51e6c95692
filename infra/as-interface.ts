// CDK's classes as the interfaces they implement. They write `name: T | undefined` where the interfaces say `name?: T`,
// which our compiler tells apart and theirs does not; so here, and nowhere else, it is told that they are the same.
import type { IInstanceProfile, InstanceProfile } from 'aws-cdk-lib/aws-iam'
import type { IVpc, Vpc } from 'aws-cdk-lib/aws-ec2'
import type { Cluster, ICluster } from 'aws-cdk-lib/aws-ecs'
import type { Bucket, IBucket } from 'aws-cdk-lib/aws-s3'

// Each class is declared to implement its interface.
export const asBucket = (bucket: Bucket) => bucket as IBucket
export const asCluster = (cluster: Cluster) => cluster as ICluster
export const asProfile = (profile: InstanceProfile) => profile as IInstanceProfile
export const asVpc = (vpc: Vpc) => vpc as IVpc
