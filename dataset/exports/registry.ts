// Every export format by its name. A new format is a file here and a line below; a test asks for both.
import { UserError } from '../../schemas/errors.ts'
import type { ExportFormat } from './core/format.ts'
import { bedrockBatch } from './bedrock-batch.ts'
import { cogvlmSft } from './cogvlm-sft.ts'
import { fiftyone } from './fiftyone.ts'
import { grit } from './grit.ts'
import { groundTruth } from './ground-truth.ts'
import { kosmos2 } from './kosmos2.ts'
import { labelStudio } from './label-studio.ts'
import { parquet } from './parquet.ts'
import { refcoco } from './refcoco.ts'
import { coco } from './coco.ts'
import { csv } from './csv.ts'
import { jsonl } from './jsonl.ts'
import { llamaFactory } from './llama-factory.ts'
import { llava } from './llava.ts'
import { msSwift } from './ms-swift.ts'
import { openaiBatch } from './openai-batch.ts'
import { openaiChat } from './openai-chat.ts'
import { sharegpt4v } from './sharegpt4v.ts'
import { sidecar } from './sidecar.ts'
import { webdataset } from './webdataset.ts'

export const exportFormats: readonly ExportFormat[] = [
  llava,
  sharegpt4v,
  openaiChat,
  openaiBatch,
  llamaFactory,
  msSwift,
  coco,
  webdataset,
  sidecar,
  csv,
  cogvlmSft,
  refcoco,
  grit,
  kosmos2,
  groundTruth,
  bedrockBatch,
  labelStudio,
  fiftyone,
  parquet,
  jsonl,
]

/** The format of a name. Throws UserError that lists the names. */
export function findFormat(name: string): ExportFormat {
  const found = exportFormats.find((format) => format.name === name)
  if (found !== undefined) return found
  const names = exportFormats.map((format) => format.name).join(', ')
  throw new UserError(`there is no format "${name}"; expected one of ${names}`)
}
