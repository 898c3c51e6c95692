// `coglabel doctor`: looks at everything that a deployment needs, one thing after the other, and says what to do about
// what is not right. It changes nothing.
import { parseArgs } from 'node:util'
import type { Place } from '../dataset/place.ts'
import { badFinding, type Finding, renderFindings } from './doctor-findings.ts'
import { checkPlace } from './doctor-place.ts'
import { gpuQuotas, readQuota } from './account/quotas.ts'
import { type Identity, whoAmI } from './account/identity.ts'
import { openStacks, type Stacks } from './account/stacks.ts'
import { openPlaceOf, type PlaceFlags, placeOptions, placeUsage } from './place.ts'
import { defaultDeploymentName, labelsBucketOf, stackNamesOf } from './deployment-names.ts'
import type { VerbRoot } from './verb-root.ts'

export const doctorUsage = `coglabel doctor [options]

Checks what labelling in the cloud needs: credentials, region, quotas of GPU instances, stacks, buckets, queues, models
that were pushed. Says of each thing that is not right what to do. It changes nothing.

  --name NAME            of the deployment (${defaultDeploymentName})
  --region REGION        where it is, or shall be (that of your AWS settings)
  --model DIR|DIGEST     a model that shall have been pushed
${placeUsage}

A place that is a folder, or another server's, is looked at without an account.

Exit code: 0 nothing to do, 1 fatal, 2 wrong usage, 3 something has to be done.`

type DoctorFlags = PlaceFlags & {
  name?: string | undefined
  region?: string | undefined
  model?: string | undefined
}

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runDoctor(args: readonly string[], root: VerbRoot): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...placeOptions,
      name: { type: 'string' },
      region: { type: 'string' },
      model: { type: 'string' },
    },
  })
  const findings: Finding[] = []
  const print = (more: readonly Finding[]) => {
    findings.push(...more)
    for (const line of renderFindings(more)) root.print(line)
  }
  const placeUri = values.place ?? process.env['COGLABEL_PLACE'] ?? ''
  const isElsewhere =
    (values['aws-endpoint'] ?? process.env['COGLABEL_AWS_ENDPOINT'] ?? '') !== '' ||
    (placeUri !== '' && !placeUri.startsWith('s3:'))
  if (isElsewhere) {
    print([{ what: 'account', state: 'skip', saw: 'this place is not AWS: no account, quotas or stacks' }])
    print(await checkPlaceAt(values))
  } else await checkAccount(values, print)
  const bad = findings.filter(({ state }) => state === 'bad').length
  root.print(bad === 0 ? 'nothing has to be done' : `${bad} of ${findings.length} need something to be done`)
  return bad === 0 ? 0 : 3
}

async function checkAccount(
  flags: DoctorFlags,
  print: (findings: readonly Finding[]) => void,
): Promise<void> {
  const identity = await whoAmI(flags).catch((error: unknown) => badFinding('account', error))
  if ('state' in identity) {
    print([identity])
    return
  }
  const { account, arn, region } = identity
  print([
    { what: 'credentials', state: 'ok', saw: `${arn} of account ${account}` },
    { what: 'region', state: 'ok', saw: region },
    await checkQuota('spot', identity),
    await checkQuota('onDemand', identity),
  ])
  const name = flags.name ?? defaultDeploymentName
  const stacks = openStacks({ region })
  try {
    const found = await checkStacks(stacks, { name, region })
    print(found.findings)
    const uri = flags.place ?? process.env['COGLABEL_PLACE'] ?? found.place
    if (uri !== null && uri !== '') print(await checkPlaceAt({ ...flags, place: uri }, region))
  } finally {
    stacks.close()
  }
}

/** vCPUs of the smallest instance that holds a worker: an xlarge. */
const vcpusPerWorker = 4
/** What 16 workers need, the most that a fleet asks for by default. */
const wantedVcpus = 64

async function checkQuota(kind: keyof typeof gpuQuotas, { region }: Identity): Promise<Finding> {
  const { code, name } = gpuQuotas[kind]
  const what = kind === 'spot' ? 'spot quota' : 'demand quota'
  try {
    const vcpus = await readQuota(code, { region })
    const workers = Math.floor(vcpus / vcpusPerWorker)
    const saw = `${vcpus} vCPUs of "${name}" (${code}): ${workers === 0 ? 'no worker fits' : `${workers} workers of ${vcpusPerWorker}`}`
    if (workers > 0) return { what, state: 'ok', saw }
    const todo = `aws service-quotas request-service-quota-increase --region ${region} --service-code ec2 --quota-code ${code} --desired-value ${wantedVcpus}`
    // Workers run on spot; on demand stands in where spot does not come.
    return { what, state: kind === 'spot' ? 'bad' : 'warn', saw, todo }
  } catch (error) {
    return { ...badFinding(what, error), state: 'warn' }
  }
}

/** Of each stack whether it is there and whole, and the labels bucket of the one that holds data. */
async function checkStacks(
  stacks: Stacks,
  { name, region }: { name: string; region: string },
): Promise<{ findings: Finding[]; place: string | null }> {
  const findings: Finding[] = []
  let place: string | null = null
  try {
    for (const stackName of Object.values(stackNamesOf(name))) {
      const stack = await stacks.find(stackName)
      const state = stack === null ? 'bad' : stateOf(stack.status)
      findings.push({
        what: `stack ${stackName}`,
        state,
        saw: stack === null ? `not in ${region}` : stack.status,
        ...(state === 'bad' ? { todo: todoOf(stack?.status, stackName) } : {}),
      })
    }
    if ((await stacks.find(stackNamesOf(name).data)) !== null) {
      const bucket = labelsBucketOf(await stacks.resources(stackNamesOf(name).data))
      place = bucket === null ? null : `s3://${bucket}`
    }
  } catch (error) {
    findings.push({ ...badFinding('stacks', error), state: 'warn' })
  }
  const isNone = findings.every(({ saw }) => saw.startsWith('not in'))
  if (isNone && findings.length > 0)
    return {
      findings: [
        {
          what: 'stacks',
          state: 'bad',
          saw: `nothing is deployed as ${name} in ${region}`,
          todo: 'npx cdk deploy --all, or give --name or --region of another deployment (docs/cloud.md)',
        },
      ],
      place,
    }
  return { findings, place }
}

function stateOf(status: string): Finding['state'] {
  if (status.endsWith('_IN_PROGRESS')) return 'warn'
  return ['CREATE_COMPLETE', 'UPDATE_COMPLETE', 'UPDATE_ROLLBACK_COMPLETE', 'IMPORT_COMPLETE'].includes(
    status,
  )
    ? 'ok'
    : 'bad'
}

function todoOf(status: string | undefined, stackName: string): string {
  if (status === undefined) return 'npx cdk deploy --all'
  if (status.startsWith('DELETE')) return 'coglabel teardown goes on with deleting'
  return `look at its events: aws cloudformation describe-stack-events --stack-name ${stackName}`
}

/** What a place has; where it cannot even be opened, that. */
async function checkPlaceAt(flags: DoctorFlags, region?: string): Promise<Finding[]> {
  let place: Place
  try {
    place = await openPlaceOf(flags)
  } catch (error) {
    return [badFinding('place', error)]
  }
  try {
    return await checkPlace(place, { model: flags.model, region })
  } finally {
    place.close()
  }
}
