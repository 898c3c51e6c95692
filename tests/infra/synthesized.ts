// The stacks as CloudFormation would get them, for tests: settings in, templates out, and intrinsics as text.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App } from 'aws-cdk-lib'
import { afterAll } from 'vitest'
import { buildApp, buildStacks, type Stacks } from '../../infra/app.ts'
import { parseConfig } from '../../infra/config.ts'
import { readRepositoryFile } from '../architecture/source-tree.ts'

export type Resource = {
  Type: string
  Properties: Record<string, unknown>
  DeletionPolicy?: string
  UpdateReplacePolicy?: string
  Metadata?: { 'aws:cdk:path'?: string }
}
export type StackName = 'Network' | 'Data' | 'Compute' | 'Pipeline' | 'Observe'
export type Templates = Record<StackName, { Resources: Record<string, Resource> }>
export type Synthesized = { stacks: Stacks; templates: Templates }

export const model = { digest: 'd1'.repeat(32), sizeBytes: 18e9 }
export const groundingModel = { digest: 'd2'.repeat(32), sizeBytes: 9e9 }

/** Every kind of deployment that the settings allow for, by a name. */
export const deployments: Readonly<Record<string, object>> = {
  'the defaults': {},
  'one fleet with a model': { fleets: [{ model, imagesPerSecond: 4 }], alarmEmails: ['a@example.com'] },
  'two fleets, sources, reviews and a NAT gateway': {
    network: { kind: 'nat' },
    imagesBucket: 'my-images',
    labelsBucket: 'my-labels',
    review: { isOn: true },
    sources: [
      {
        bucket: 'photos',
        prefix: 'a/',
        kmsKeyArn: 'arn:aws:kms:us-east-2:111122223333:key/0a0a0a0a-1111-2222-3333-444444444444',
      },
      { bucket: 'scans' },
    ],
    fleets: [
      { name: 'chat', model, maxSpot: 64 },
      { name: 'boxes', role: 'grounding', prefixes: [], model: groundingModel },
    ],
  },
  'a VPC that is there, keys of S3 and no data kept': {
    network: {
      kind: 'existing-vpc',
      vpcId: 'vpc-0a0a0a0a',
      availabilityZones: ['us-east-2a', 'us-east-2b'],
      subnetIds: ['subnet-0a0a0a0a', 'subnet-0b0b0b0b'],
    },
    encryption: 's3',
    keepData: false,
    protectInstances: false,
    amiId: 'ami-0123456789abcdef0',
    image: `111122223333.dkr.ecr.us-east-2.amazonaws.com/coglabel@sha256:${'ab'.repeat(32)}`,
    budgetUsd: null,
    workerHourUsd: 1.2,
  },
  'managed instances, and the key of an earlier deployment': {
    compute: 'managed-instances',
    dataKeyArn: 'arn:aws:kms:us-east-2:111122223333:key/0a0a0a0a-1111-2222-3333-444444444444',
    fleets: [{ model }],
  },
}

const context = (JSON.parse(readRepositoryFile('cdk.json')) as { context: Record<string, unknown> }).context
const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** The stacks with nothing acknowledged. */
export function buildUnchecked(settings: object): Stacks {
  return buildStacks(openApp(), parseConfig(settings))
}

/** An app with the flags that the CLI passes, which bundles and stages nothing. */
function openApp(): App {
  const outdir = mkdtempSync(join(tmpdir(), 'coglabel-synth-'))
  folders.push(outdir)
  const quick = {
    'aws:cdk:bundling-stacks': [],
    'aws:cdk:disable-asset-staging': true,
    'aws:cdk:enable-path-metadata': true,
  }
  return new App({ outdir, context: { ...context, ...quick } })
}

const known = new Map<string, Synthesized>()

/** Synthesizes, with the validator and the rules of cdk-nag: throws what they find. Once for the same settings. */
export function synthesize(settings: object): Synthesized {
  const id = JSON.stringify(settings)
  const found = known.get(id)
  if (found !== undefined) return found
  const stacks = buildApp(openApp(), parseConfig(settings))
  const assembly = stacks.app.synth()
  // What CDK writes for each stack; its shape is CloudFormation's.
  const templates = Object.fromEntries(
    assembly.stacks.map(({ id: name, template }) => [name, template as unknown]),
  ) as Templates
  const made = { stacks, templates }
  known.set(id, made)
  return made
}

/** Resources of a type, with their place in the tree of constructs. */
export function resourcesOf(
  { templates }: Synthesized,
  type: string,
): { stack: StackName; id: string; path: string; resource: Resource }[] {
  return Object.entries(templates).flatMap(([stack, { Resources }]) =>
    Object.entries(Resources)
      .filter(([, resource]) => resource.Type === type)
      .map(([id, resource]) => ({
        stack: stack as StackName,
        id,
        path: resource.Metadata?.['aws:cdk:path'] ?? id,
        resource,
      })),
  )
}

export const pseudo: Readonly<Record<string, string>> = {
  'AWS::Partition': 'aws',
  'AWS::Region': 'us-east-2',
  'AWS::AccountId': '111122223333',
  'AWS::URLSuffix': 'amazonaws.com',
}

/** A value with its intrinsics filled in, or named where only a deployment could. */
export function resolved(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(resolved)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
  const [[name, argument] = ['', undefined]] = entries
  if (entries.length === 1 && (name === 'Ref' || name.startsWith('Fn::'))) return textOf(name, argument)
  return Object.fromEntries(entries.map(([key, inner]) => [key, resolved(inner)]))
}

function textOf(name: string, argument: unknown): string {
  if (name === 'Ref') return pseudo[String(argument)] ?? `<${String(argument)}>`
  const inner = resolved(argument)
  if (name === 'Fn::Join' && Array.isArray(inner)) return (inner[1] as string[]).join(String(inner[0]))
  if (name === 'Fn::GetAtt' && Array.isArray(inner)) return `<${inner.join('.')}>`
  if (name === 'Fn::ImportValue' || name === 'Fn::Sub') return `<${String(inner)}>`
  if (name === 'Fn::GetStackOutput') return `<${(inner as { OutputName: string }).OutputName}>`
  return `<${name} ${JSON.stringify(inner)}>`
}
