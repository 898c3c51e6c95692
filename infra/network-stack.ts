// Where workers run: a VPC with no more ways out than they need, or one that is there already.
import { Stack, type StackProps, Validations } from 'aws-cdk-lib'
import {
  FlowLogDestination,
  GatewayVpcEndpointAwsService,
  InterfaceVpcEndpointAwsService,
  type ISecurityGroup,
  type ISubnet,
  type IVpc,
  Peer,
  Port,
  SecurityGroup,
  SubnetType,
  Vpc,
} from 'aws-cdk-lib/aws-ec2'
import { AnyPrincipal, PolicyStatement } from 'aws-cdk-lib/aws-iam'
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs'
import type { Construct } from 'constructs'
import { asVpc } from './as-interface.ts'
import type { InfraConfig } from './config.ts'
import { bucketArn, type Names } from './names.ts'
import { removalOfLogs } from './removal.ts'

/**
 * What an instance of ECS, its agent and a worker call besides S3. KMS is called by S3, and metrics are lines of the
 * log, so neither needs one.
 */
const interfaceServices = {
  EcrApi: InterfaceVpcEndpointAwsService.ECR,
  EcrDocker: InterfaceVpcEndpointAwsService.ECR_DOCKER,
  Ecs: InterfaceVpcEndpointAwsService.ECS,
  EcsAgent: InterfaceVpcEndpointAwsService.ECS_AGENT,
  EcsTelemetry: InterfaceVpcEndpointAwsService.ECS_TELEMETRY,
  Logs: InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
  Sqs: InterfaceVpcEndpointAwsService.SQS,
}

export type NetworkProps = StackProps & { config: InfraConfig; names: Names }

export class NetworkStack extends Stack {
  readonly vpc: IVpc
  readonly subnets: ISubnet[]
  /** Of workers and their instances: nothing comes in, HTTPS goes out. */
  readonly workerGroup: ISecurityGroup

  constructor(scope: Construct, id: string, { config, names, ...props }: NetworkProps) {
    super(scope, id, props)
    const { network } = config
    if (network.kind === 'existing-vpc') {
      const { vpcId, availabilityZones, subnetIds } = network
      this.vpc = Vpc.fromVpcAttributes(this, 'Vpc', { vpcId, availabilityZones, privateSubnetIds: subnetIds })
      this.subnets = this.vpc.privateSubnets
      Validations.of(this.vpc).acknowledge({
        id: '@aws-cdk/aws-ec2:noSubnetRouteTableId',
        reason: 'No route is added to subnets of somebody else.',
      })
    } else {
      const vpc = this.#createVpc(config)
      this.#addS3Endpoint(vpc, { config, names })
      this.vpc = asVpc(vpc)
      this.subnets = network.kind === 'nat' ? vpc.privateSubnets : vpc.isolatedSubnets
      if (network.kind === 'endpoints') this.#addEndpoints(vpc)
    }
    const workers = new SecurityGroup(this, 'Workers', {
      vpc: this.vpc,
      description: 'Workers and their instances: HTTPS out, nothing in',
      allowAllOutbound: false,
    })
    workers.addEgressRule(Peer.anyIpv4(), Port.tcp(443), 'HTTPS to AWS')
    this.workerGroup = workers
  }

  #createVpc(config: InfraConfig): Vpc {
    const { network } = config
    const hasNat = network.kind === 'nat'
    const zones = network.kind === 'existing-vpc' ? undefined : network
    const isNamed = zones !== undefined && zones.availabilityZones.length > 0
    const workers = hasNat ? SubnetType.PRIVATE_WITH_EGRESS : SubnetType.PRIVATE_ISOLATED
    const vpc = new Vpc(this, 'Vpc', {
      ...(isNamed ? { availabilityZones: zones.availabilityZones } : { maxAzs: zones?.zones ?? 2 }),
      natGateways: hasNat ? 1 : 0,
      // Nothing is in the default group; emptying its rules would take a function of its own.
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [
        { name: 'workers', subnetType: workers, cidrMask: 20 },
        ...(hasNat
          ? [{ name: 'nat', subnetType: SubnetType.PUBLIC, cidrMask: 28, mapPublicIpOnLaunch: false }]
          : []),
      ],
    })
    const logGroup = new LogGroup(this, 'FlowLogs', {
      // The numbers of the setting are those of the enumeration.
      retention: config.logDays as RetentionDays,
      removalPolicy: removalOfLogs,
    })
    vpc.addFlowLog('FlowLog', { destination: FlowLogDestination.toCloudWatchLogs(logGroup) })
    return vpc
  }

  /** Bytes of images and weights go this way, for nothing, and to no bucket of anybody else. */
  #addS3Endpoint(vpc: Vpc, { config, names }: NetworkProps): void {
    const { images, labels, weights } = names
    const buckets = [images, labels, weights, ...config.sources.map(({ bucket }) => bucket)].map(bucketArn)
    const endpoint = vpc.addGatewayEndpoint('S3', { service: GatewayVpcEndpointAwsService.S3 })
    const principals = [new AnyPrincipal()]
    const resources = buckets.flatMap((arn) => [arn, `${arn}/*`])
    endpoint.addToPolicy(new PolicyStatement({ principals, actions: ['s3:*'], resources }))
    // ECR keeps the layers of images in a bucket of its own.
    const layers = `${bucketArn(`prod-${this.region}-starport-layer-bucket`)}/*`
    endpoint.addToPolicy(new PolicyStatement({ principals, actions: ['s3:GetObject'], resources: [layers] }))
  }

  #addEndpoints(vpc: Vpc): void {
    const group = new SecurityGroup(this, 'Endpoints', {
      vpc: asVpc(vpc),
      description: 'Interface endpoints: HTTPS from the VPC',
      allowAllOutbound: false,
    })
    group.addIngressRule(Peer.ipv4(vpc.vpcCidrBlock), Port.tcp(443), 'HTTPS from the VPC')
    const ofThisAccount = new PolicyStatement({
      principals: [new AnyPrincipal()],
      actions: ['*'],
      resources: ['*'],
      conditions: { StringEquals: { 'aws:PrincipalAccount': this.account } },
    })
    for (const [id, service] of Object.entries(interfaceServices)) {
      const endpoint = vpc.addInterfaceEndpoint(id, { service, securityGroups: [group], open: false })
      // With credentials of somebody else nothing goes out here; the agent's own two are left as AWS has them.
      if (id !== 'EcsTelemetry' && id !== 'EcsAgent') endpoint.addToPolicy(ofThisAccount)
    }
  }
}
