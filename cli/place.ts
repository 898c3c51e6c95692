// The place that a verb works on: `--place URI` and `--aws-endpoint URL`, or the environment. It does not know the verbs.
import { openPlace, type Place, type PlaceConnection } from '../dataset/place.ts'
import { UserError } from '../schemas/errors.ts'

/** For parseArgs. */
export const placeOptions = { 'place': { type: 'string' }, 'aws-endpoint': { type: 'string' } } as const

/** Lines of a usage text. */
export const placeUsage = `  --place URI            a folder, or s3://bucket with the labels of a deployment (COGLABEL_PLACE)
  --aws-endpoint URL     another server that speaks S3 and SQS (COGLABEL_AWS_ENDPOINT)`

export type PlaceFlags = { 'place'?: string | undefined; 'aws-endpoint'?: string | undefined }

/** Opens the place of the flags, or else of COGLABEL_PLACE. Throws UserError when neither names one. */
export async function openPlaceOf(
  flags: PlaceFlags,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Place> {
  const uri = flags.place ?? environment['COGLABEL_PLACE'] ?? ''
  if (uri === '')
    throw new UserError('which place? give --place FOLDER or --place s3://bucket, or set COGLABEL_PLACE')
  return await openPlace(uri, connectionOf(flags, environment))
}

/** How the flags and the environment say that the place is reached. */
export function connectionOf(
  flags: PlaceFlags,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): PlaceConnection {
  const region = environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION']
  const endpoint = flags['aws-endpoint'] ?? environment['COGLABEL_AWS_ENDPOINT']
  return {
    endpoint: endpoint === '' ? undefined : endpoint,
    region: region === '' ? undefined : region,
  }
}
