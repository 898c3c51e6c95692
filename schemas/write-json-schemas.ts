// Writes schemas/json/*.schema.json for people who do not use zod: `node cli/launch.js schemas/write-json-schemas.ts`.
import { mkdir, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { AskedAgain } from './asked-again.ts'
import { ClaimEntry } from './claim.ts'
import { SealCheckpoint } from './checkpoint.ts'
import { Deployment } from './deployment.ts'
import { Estimate } from './estimate.ts'
import { GoldLine } from './gold.ts'
import { LabelRecord } from './label-record.ts'
import { ModelManifest } from './model-manifest.ts'
import { PlanPage } from './plan-page.ts'
import { RunConfig } from './run-config.ts'
import { RunControlEntry } from './run-control.ts'
import { Prices } from './prices.ts'
import { RunList } from './run-list.ts'
import { RunReport } from './run-report.ts'
import { SealedManifest } from './sealed-manifest.ts'
import { TaskFile } from './task-file.ts'
import { TaskOutput } from './task-output.ts'
import { TaskSpec } from './task-spec.ts'
import { Verdict } from './verdict.ts'
import { WeightsLock } from './weights-lock.ts'
import { WorkMessage } from './work-message.ts'
import { World } from './world.ts'

const written: Readonly<Record<string, z.ZodType>> = {
  'label-record': LabelRecord,
  'run-config': RunConfig,
  'task-spec': TaskSpec,
  'task-file': TaskFile,
  'task-output': TaskOutput,
  'sealed-manifest': SealedManifest,
  'seal-checkpoint': SealCheckpoint,
  'model-manifest': ModelManifest,
  'gold': GoldLine,
  'verdict': Verdict,
  'world': World,
  'work-message': WorkMessage,
  'run-control': RunControlEntry,
  'claim': ClaimEntry,
  'deployment': Deployment,
  'plan-page': PlanPage,
  'asked-again': AskedAgain,
  'run-list': RunList,
  'estimate': Estimate,
  'run-report': RunReport,
  'prices': Prices,
  'weights-lock': WeightsLock,
}

export const jsonSchemasFolder = new URL('./json/', import.meta.url)

/** The text of every JSON Schema file (draft 2020-12) by file name. */
export function renderJsonSchemas(): Record<string, string> {
  const files: Record<string, string> = {}
  for (const [name, schema] of Object.entries(written)) {
    const json = { title: name, ...z.toJSONSchema(schema, { unrepresentable: 'any' }) }
    files[`${name}.schema.json`] = `${JSON.stringify(json, null, 2)}\n`
  }
  return files
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await mkdir(jsonSchemasFolder, { recursive: true })
  for (const [name, text] of Object.entries(renderJsonSchemas()))
    await writeFile(new URL(name, jsonSchemasFolder), text)
}
