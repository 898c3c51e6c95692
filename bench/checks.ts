// What the default checks cost an image: the records of a run are judged again and again, without a model.
//   node bench/checks.ts RUN [--rounds 50]
// RUN is a run folder that coglabel label made. Prints a JSON line.
import { parseArgs } from 'node:util'
import { defaultChecks } from '../dataset/checks/registry.ts'
import { readRecords } from '../dataset/read.ts'
import { readRun } from '../dataset/run-folder.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import { gateRecords, openRunTexts } from '../gpu-worker/pipeline/gates.ts'
import type { LabelRecord } from '../schemas/label-record.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '50' } },
})
const [folder] = positionals
if (folder === undefined) throw new Error('usage: node bench/checks.ts RUN')
const store = openFsStore(folder)
const config = await readRun(store)
if (config === null) throw new Error(`${folder} holds no run`)
const byImage = new Map<string, LabelRecord[]>()
for await (const record of readRecords(store)) {
  if (record.output === null) continue
  const bare: LabelRecord = { ...record, status: 'ok', checks: [] }
  byImage.set(record.source.key, [...(byImage.get(record.source.key) ?? []), bare])
}
const texts = openRunTexts()
const judge = () => {
  for (const records of byImage.values())
    gateRecords(records, { ...config, checks: [...defaultChecks] }, { texts })
}
judge()
const rounds = Number(values.rounds)
const before = process.cpuUsage()
for (let round = 0; round < rounds; round += 1) judge()
const { user } = process.cpuUsage(before)
const records = [...byImage.values()].reduce((sum, own) => sum + own.length, 0)
const usAnImage = Math.round(user / rounds / byImage.size)
console.log(JSON.stringify({ images: byImage.size, records, checks: defaultChecks.length, usAnImage }))
