// Event notifications of a bucket: their configuration, and the JSON that goes to a queue. It does not send them.
import type { Bucket, NotificationRule, StoredObject } from './s3-state.ts'
import { encodeListed } from './s3-list.ts'
import { AwsError } from './wire.ts'
import { childrenOf, childText, type XmlElement, type XmlTree } from './xml.ts'

/** Reads a NotificationConfiguration. Throws AwsError for targets other than queues. */
export function readRules(root: XmlElement): NotificationRule[] {
  const other = root.children.find(({ name }) => name !== 'QueueConfiguration')
  if (other !== undefined)
    throw new AwsError('NotImplemented', `${other.name} is not implemented; use a queue.`, 501)
  return childrenOf(root, 'QueueConfiguration').map((rule, index) => {
    const filters = childrenOf(rule, 'Filter')
      .flatMap((filter) => childrenOf(filter, 'S3Key'))
      .flatMap((filter) => childrenOf(filter, 'FilterRule'))
    const filterValue = (name: string) =>
      filters.find((filter) => childText(filter, 'Name')?.toLowerCase() === name)
    const [prefix, suffix] = [filterValue('prefix'), filterValue('suffix')]
    return {
      id: childText(rule, 'Id') ?? `rule-${index}`,
      queueArn: childText(rule, 'Queue') ?? '',
      events: childrenOf(rule, 'Event').map(({ text }) => text),
      prefix: prefix === undefined ? '' : (childText(prefix, 'Value') ?? ''),
      suffix: suffix === undefined ? '' : (childText(suffix, 'Value') ?? ''),
    }
  })
}

export function writeRules(rules: readonly NotificationRule[]): XmlTree {
  const filterRules = ({ prefix, suffix }: NotificationRule) => [
    { Name: 'Prefix', Value: prefix },
    { Name: 'Suffix', Value: suffix },
  ]
  return {
    QueueConfiguration: rules.map((rule) => ({
      Id: rule.id,
      Queue: rule.queueArn,
      Event: rule.events,
      Filter: { S3Key: { FilterRule: filterRules(rule) } },
    })),
  }
}

/** The rules an event of a key falls under. */
export function matchingRules(
  rules: readonly NotificationRule[],
  { event, key }: { event: string; key: string },
): NotificationRule[] {
  const matches = (wanted: string) =>
    wanted === `s3:${event}` || (wanted.endsWith('*') && `s3:${event}`.startsWith(wanted.slice(0, -1)))
  return rules.filter(
    (rule) => key.startsWith(rule.prefix) && key.endsWith(rule.suffix) && rule.events.some(matches),
  )
}

/** What a queue gets first when a bucket is told to notify it. */
export function testEvent(bucket: Bucket, nowMs: number): string {
  return JSON.stringify({
    Service: 'Amazon S3',
    Event: 's3:TestEvent',
    Time: new Date(nowMs).toISOString(),
    Bucket: bucket.name,
    RequestId: '0000000000000000',
    HostId: 'emulator',
  })
}

type EventDetail = {
  bucket: Bucket
  key: string
  /** `ObjectCreated:Put`, `ObjectRemoved:Delete`. */
  event: string
  object: StoredObject | undefined
  rule: NotificationRule
  sequencer: number
  nowMs: number
  region: string
}

/** One event record; the key is form-url-encoded as S3 does, the sequencer grows with every change of the key. */
export function objectEvent(detail: EventDetail): string {
  const { bucket, key, event, object, rule, sequencer, nowMs, region } = detail
  const content =
    object === undefined ? {} : { size: object.bytes.length, eTag: object.etag.replaceAll('"', '') }
  const record = {
    eventVersion: '2.6',
    eventSource: 'aws:s3',
    awsRegion: region,
    eventTime: new Date(nowMs).toISOString(),
    eventName: event,
    userIdentity: { principalId: 'EMULATOR' },
    requestParameters: { sourceIPAddress: '127.0.0.1' },
    responseElements: { 'x-amz-request-id': '0000000000000000', 'x-amz-id-2': 'emulator' },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId: rule.id,
      bucket: {
        name: bucket.name,
        ownerIdentity: { principalId: 'EMULATOR' },
        arn: `arn:aws:s3:::${bucket.name}`,
      },
      object: {
        key: encodeListed(key),
        ...content,
        sequencer: sequencer.toString(16).toUpperCase().padStart(18, '0'),
      },
    },
  }
  return JSON.stringify({ Records: [record] })
}
