// The synthesized stacks as a picture (Mermaid): what there is, and who may do what with it, by the templates alone. It
// does not know the settings, so it cannot show what is not deployed.

type Resource = { Type: string; Properties?: Record<string, unknown>; Metadata?: Record<string, unknown> }
export type PictureTemplate = { Resources?: Record<string, Resource> }
type Statement = { Effect: string; Action: string | string[]; Resource: unknown }
type Node = { id: string; label: string; shape: readonly [string, string] }
type Placed = { stack: string; id: string; resource: Resource }

/** What is drawn, with how it looks. All else is detail of these. */
const shapes: Readonly<Record<string, readonly [string, string]>> = {
  'AWS::S3::Bucket': ['[(', ')]'],
  'AWS::SQS::Queue': ['[[', ']]'],
  'AWS::Lambda::Function': ['(', ')'],
  'AWS::ECS::Service': ['[', ']'],
  'AWS::SNS::Topic': ['>', ']'],
}

/** Rights that are drawn: what a part is there for. Everybody reads the run's settings. */
const verbs = [
  { action: 'sqs:ReceiveMessage', of: 'AWS::SQS::Queue', text: 'takes', isInto: false },
  { action: 'sqs:SendMessage', of: 'AWS::SQS::Queue', text: 'sends', isInto: true },
  { action: 's3:PutObject', of: 'AWS::S3::Bucket', text: 'creates', isInto: true },
  { action: 's3:GetObject', of: 'AWS::S3::Bucket', text: 'reads', isInto: false },
] as const

/** Draws templates by the names of their stacks. */
export function drawStacks(templates: Readonly<Record<string, PictureTemplate>>): string {
  const placed = Object.entries(templates).flatMap(([stack, { Resources = {} }]) =>
    Object.entries(Resources).map(([id, resource]) => ({ stack, id, resource })),
  )
  const groups = Object.keys(templates).flatMap((stack) => {
    const nodes = placed.filter((one) => one.stack === stack).flatMap(nodeOf)
    if (nodes.length === 0) return []
    const lines = nodes.map(({ id, label, shape: [open, close] }) => `    ${id}${open}"${label}"${close}`)
    return [`  subgraph ${stack}`, ...lines, '  end']
  })
  const edges = [
    ...arrivals(placed),
    ...buried(placed),
    ...schedules(placed),
    ...rights(placed),
    ...scaling(placed),
  ]
  return ['flowchart LR', ...groups, ...new Set(edges.map((edge) => `  ${edge}`))].join('\n')
}

function nodeOf({ id, resource }: Placed): Node[] {
  const shape = shapes[resource.Type]
  return shape === undefined ? [] : [{ id, label: nameOf(id, resource), shape }]
}

/** As it is called when deployed; what only a deployment knows is left out. */
function nameOf(id: string, { Properties = {} }: Resource): string {
  const given = ['BucketName', 'QueueName', 'FunctionName', 'ServiceName', 'TopicName'].map(
    (key) => Properties[key],
  )
  const name = given.find((value) => value !== undefined) ?? id
  return textOf(name).replaceAll(/-?<[^>]*>/g, '')
}

/** Images that arrive: S3 tells a queue, or a rule does. */
function arrivals(placed: readonly Placed[]): string[] {
  const told = placed.flatMap(({ id, resource }) => {
    if (resource.Type !== 'AWS::S3::Bucket') return []
    const text = JSON.stringify(resource.Properties?.['NotificationConfiguration'] ?? {})
    return ofType(placed, 'AWS::SQS::Queue')
      .filter((queue) => text.includes(`"${queue.id}"`))
      .map((queue) => `${id} -- arrivals --> ${queue.id}`)
  })
  const ruled = ofType(placed, 'AWS::Events::Rule').flatMap(({ resource }) => {
    const pattern = textOf(resource.Properties?.['EventPattern'])
    const from = ofType(placed, 'AWS::S3::Bucket').filter((bucket) =>
      pattern.includes(`"${textOf(bucket.resource.Properties?.['BucketName'])}"`),
    )
    return targetsOf(placed, resource).flatMap((to) => from.map(({ id }) => `${id} -- arrivals --> ${to.id}`))
  })
  return [...told, ...ruled]
}

function buried(placed: readonly Placed[]): string[] {
  return ofType(placed, 'AWS::SQS::Queue').flatMap(({ id, resource }) => {
    const text = JSON.stringify(resource.Properties?.['RedrivePolicy'] ?? {})
    const dead = ofType(placed, 'AWS::SQS::Queue').find((queue) => text.includes(`"${queue.id}"`))
    return dead === undefined ? [] : [`${id} -. too often .-> ${dead.id}`]
  })
}

function schedules(placed: readonly Placed[]): string[] {
  return ofType(placed, 'AWS::Events::Rule').flatMap(({ resource }) => {
    const schedule = resource.Properties?.['ScheduleExpression']
    if (typeof schedule !== 'string') return []
    const every = schedule.replaceAll(/rate\(|\)/g, '')
    return targetsOf(placed, resource).map(({ id }) => `clock(("clock")) -. ${every} .-> ${id}`)
  })
}

function targetsOf(placed: readonly Placed[], rule: Resource): Placed[] {
  const text = JSON.stringify(rule.Properties?.['Targets'] ?? [])
  return placed.filter(({ id, resource }) => resource.Type in shapes && text.includes(`"${id}"`))
}

/** What roles allow, from whoever has the role to what it is allowed on. */
function rights(placed: readonly Placed[]): string[] {
  return ofType(placed, 'AWS::IAM::Role').flatMap((role) => {
    // The shape of a role's policies is CloudFormation's.
    const policies = (role.resource.Properties?.['Policies'] ?? []) as {
      PolicyDocument: { Statement: Statement[] }
    }[]
    const statements = policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
    const things = placed.flatMap((thing) => {
      const may = verbs.filter(
        ({ action, of }) =>
          of === thing.resource.Type && statements.some((statement) => allows(statement, { action, thing })),
      )
      return may.length === 0 ? [] : [{ id: thing.id, may }]
    })
    return holdersOf(placed, role).flatMap((holder) => things.map((thing) => rightEdge(holder.id, thing)))
  })
}

/** One arrow between two, with a head on each side that something goes to. */
function rightEdge(
  holder: string,
  { id, may }: { id: string; may: readonly (typeof verbs)[number][] },
): string {
  const text = may.map((verb) => verb.text).join(', ')
  const [into, out] = [true, false].map((side) => may.some(({ isInto }) => isInto === side))
  if (into && out) return `${holder} <-- ${text} --> ${id}`
  return into ? `${holder} -- ${text} --> ${id}` : `${id} -- ${text} --> ${holder}`
}

function allows(
  { Effect, Action, Resource }: Statement,
  { action, thing }: { action: string; thing: Placed },
): boolean {
  if (Effect !== 'Allow' || ![Action].flat().includes(action)) return false
  const { BucketName, QueueName } = thing.resource.Properties ?? {}
  const arn = textOf(BucketName ?? QueueName)
  return [Resource].flat().some((one) => {
    const text = textOf(one)
    // Single files, the description of the deployment and lists of images, are no right worth an arrow.
    return text.endsWith(`:${arn}`) || (text.includes(`:::${arn}/`) && text.endsWith('*'))
  })
}

/** Functions of the role, and services whose tasks have it. */
function holdersOf(placed: readonly Placed[], role: Placed): Placed[] {
  const has = (properties: unknown, key: string) =>
    JSON.stringify((properties as Record<string, unknown> | undefined)?.[key] ?? '').includes(`"${role.id}"`)
  const tasks = ofType(placed, 'AWS::ECS::TaskDefinition').filter(({ resource }) =>
    has(resource.Properties, 'TaskRoleArn'),
  )
  return placed.filter(({ resource: { Type, Properties } }) => {
    if (Type === 'AWS::Lambda::Function') return has(Properties, 'Role')
    if (Type !== 'AWS::ECS::Service') return false
    const task = JSON.stringify(Properties?.['TaskDefinition'])
    return tasks.some(({ id }) => task.includes(`"${id}"`))
  })
}

/** From the function that says how many workers are needed to the services that are set by it. */
function scaling(placed: readonly Placed[]): string[] {
  const scalers = ofType(placed, 'AWS::Lambda::Function').filter(({ resource }) =>
    JSON.stringify(resource.Properties).includes('COGLABEL_SPOT_SERVICE'),
  )
  return ofType(placed, 'AWS::ApplicationAutoScaling::ScalableTarget').flatMap(({ resource }) => {
    const target = JSON.stringify(resource.Properties?.['ResourceId'])
    const service = ofType(placed, 'AWS::ECS::Service').find(({ id }) => target.includes(`"${id}"`))
    const name = textOf(service?.resource.Properties?.['ServiceName'])
    return scalers
      .filter((scaler) => JSON.stringify(scaler.resource.Properties).includes(`"${name}"`))
      .map(({ id }) => `${id} == how many ==> ${service?.id ?? ''}`)
  })
}

function ofType(placed: readonly Placed[], type: string): Placed[] {
  return placed.filter(({ resource }) => resource.Type === type)
}

/** A value with its intrinsics as text: pseudo parameters and references by name. */
function textOf(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  if (typeof value !== 'object' || value === null) return ''
  if ('Ref' in value) return `<${String(value.Ref)}>`
  const join = 'Fn::Join' in value ? value['Fn::Join'] : undefined
  if (Array.isArray(join)) return (join[1] as unknown[]).map(textOf).join(String(join[0]))
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && ('Ref' in inner || 'Fn::Join' in inner)
      ? textOf(inner)
      : inner,
  )
}
