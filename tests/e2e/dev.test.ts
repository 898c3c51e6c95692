// The cloud on a laptop, as a user has it: images go in by a folder or by an S3 client, sealed labels come out.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { expect, onTestFinished, test } from 'vitest'
import { LabelRecord } from '../../schemas/label-record.ts'
import { numberedPng } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const script = fileURLToPath(new URL('../helpers/dev-counting.ts', import.meta.url))

async function startDev(
  out: string,
  args: readonly string[] = [],
  variables: { DEV_ANSWER?: string; DEV_BROKEN?: string } = {},
) {
  const asked = ['--out', out, '--port', '0', '--tasks', 'caption', ...args]
  const child = spawn(process.execPath, [script, ...asked], { env: { ...process.env, ...variables } })
  onTestFinished(() => void child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (data: Buffer) => (said += data.toString()))
  child.stderr.on('data', (data: Buffer) => (said += data.toString()))
  const ended = once(child, 'close')
  const hears = async (pattern: RegExp) => {
    for (let tries = 0; !pattern.test(said); tries += 1) {
      if (tries > 3000 || child.exitCode !== null) throw new Error(`no ${String(pattern)} in:\n${said}`)
      await sleep(100)
    }
    return pattern.exec(said)!
  }
  return {
    hears,
    said: () => said,
    async end() {
      const [code] = (await ended) as [number | null]
      return code
    },
    async interrupt() {
      child.kill('SIGINT')
      const [code] = (await ended) as [number | null]
      return code
    },
  }
}

async function readLabels(out: string): Promise<LabelRecord[]> {
  const text = await readFile(join(out, 'labels.jsonl'), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .filter(Boolean)
    .map((line) => LabelRecord.parse(JSON.parse(line)))
}

test('labels what is copied into the folder or put into the bucket, and says where the labels are', async () => {
  const out = await tempFolder()
  await mkdir(join(out, 'drop', 'old'), { recursive: true })
  await writeFile(join(out, 'drop', 'old', 'there before.png'), numberedPng(1))
  const dev = await startDev(out)
  await dev.hears(/old\/there before\.png {2}"thing [0-9a-f]+".*sealed after/)

  await writeFile(join(out, 'drop', 'broken.png'), numberedPng(2).subarray(0, 40))
  await dev.hears(/broken\.png {2}failed: image-truncated: .*sealed after/)

  const [, endpoint] = await dev.hears(/AWS_ENDPOINT_URL=(\S+)/)
  const [, accessKeyId, secretAccessKey] = await dev.hears(
    /AWS_ACCESS_KEY_ID=(\S+) AWS_SECRET_ACCESS_KEY=(\S+)/,
  )
  const s3 = new S3Client({
    endpoint: endpoint!,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: accessKeyId!, secretAccessKey: secretAccessKey! },
  })
  const put = async (Key: string) =>
    await s3.send(new PutObjectCommand({ Bucket: 'images', Key, Body: numberedPng(3) }))
  await put('incoming/dev/ünï+code #1\u{1F600}.png')
  await put('elsewhere.png')
  await put('incoming/dev/caption.txt')
  s3.destroy()
  await dev.hears(/ünï\+code #1\u{1F600}\.png {2}"thing/u)
  await dev.hears(/elsewhere\.png {2}is not below incoming\/dev\//)
  await dev.hears(/caption\.txt {2}is passed over: not an image by its extension/)

  expect(await dev.interrupt()).toBe(0)
  expect(dev.said()).not.toContain('had arrived')
  expect(dev.said()).toMatch(/labels: \S+labels\.jsonl \(3 lines, 3 images, 1 failed\)\n$/)
  const labels = await readLabels(out)
  expect(labels.map(({ source, status }) => [source.key, status])).toEqual([
    ['incoming/dev/broken.png', 'failed'],
    ['incoming/dev/old/there before.png', 'ok'],
    ['incoming/dev/ünï+code #1\u{1F600}.png', 'ok'],
  ])

  // The next time begins anew and keeps what was there.
  const kept = await readFile(join(out, 'labels.jsonl'), 'utf8')
  const again = await startDev(out)
  const [, aside] = await again.hears(/the labels of an earlier time are now (\S+)/)
  await again.hears(/sealed after/)
  expect(await again.interrupt()).toBe(0)
  expect(await readFile(aside!, 'utf8')).toBe(kept)
}, 600_000)

test('says that a changed image keeps the labels it has, and that a port is taken', async () => {
  const out = await tempFolder()
  await mkdir(join(out, 'drop'), { recursive: true })
  await writeFile(join(out, 'drop', 'a.png'), numberedPng(1))
  const dev = await startDev(out)
  await dev.hears(/a\.png {2}"thing/)
  await writeFile(join(out, 'drop', 'a.png'), numberedPng(200))
  await dev.hears(/a\.png was labelled with other bytes before/)
  await copyFile(join(out, 'drop', 'a.png'), join(out, 'drop', 'b.png'))
  await dev.hears(/b\.png {2}"thing/)
  const [, port] = await dev.hears(/AWS_ENDPOINT_URL=http:\/\/127\.0\.0\.1:(\d+)/)
  const other = spawn(process.execPath, [script, '--out', join(out, 'other'), '--port', port!])
  let complaint = ''
  other.stderr.on('data', (data: Buffer) => (complaint += data.toString()))
  expect((await once(other, 'close'))[0]).not.toBe(0)
  expect(complaint).toContain(`port ${port} is taken; give another with --port`)
  expect(await dev.interrupt()).toBe(0)
}, 600_000)

test('ends with a sentence where the worker cannot start, and where labels cannot be written', async () => {
  const broken = await startDev(await tempFolder(), [], { DEV_BROKEN: '1' })
  expect(await broken.end()).toBe(2)
  expect(broken.said()).toMatch(/\nthe worker cannot start: UserError: the model is torn\n$/)

  const out = await tempFolder()
  const dev = await startDev(out)
  await dev.hears(/the worker is ready/)
  await rm(join(out, 'labels.jsonl'))
  await mkdir(join(out, 'labels.jsonl'))
  await writeFile(join(out, 'drop', 'a.png'), numberedPng(1))
  expect(await dev.end()).toBe(2)
  expect(dev.said()).toMatch(/it is a folder, expected a file \(rename: EISDIR\)\n$/)
  expect(dev.said()).not.toMatch(/\n +at /)
}, 600_000)

test('pauses the run when its labels go bad, as the sealer of a deployment does, and says how to go on', async () => {
  const out = await tempFolder()
  await mkdir(join(out, 'drop'), { recursive: true })
  for (let n = 0; n < 12; n += 1) await writeFile(join(out, 'drop', `${n}.png`), numberedPng(n))
  await copyFile(join(out, 'drop', '0.png'), join(out, 'drop', 'again.png'))
  const flags = ['--health', 'window=10,refusals=0.1', '--dedupe', 'exact']
  const dev = await startDev(out, flags, {
    DEV_ANSWER: 'I am sorry, but I cannot help with that request.',
  })
  const [, reason, command] = await dev.hears(
    / {2}paused: (.*); what arrives waits in the queue\n {2}npx (.*)\n/,
  )
  expect(reason).toMatch(/^refusals 100\.0 % over the last \d+ records; the limit is 10\.0 %$/)
  expect(command).toMatch(
    /^coglabel resume dev --place s3:\/\/labels --aws-endpoint http:\/\/127\.0\.0\.1:\d+$/,
  )
  expect(await dev.interrupt()).toBe(0)
  const statuses = (await readLabels(out)).map(({ status, duplicateOf }) => [
    status,
    duplicateOf !== undefined,
  ])
  expect(statuses.filter(([, isDuplicate]) => isDuplicate)).toEqual([['filtered', true]])
}, 600_000)
