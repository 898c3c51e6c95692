// Lambda root: sends dead letters again for which that makes sense without a person.
import { redriveDeadLetters, type RedriveTally } from '../dataset/redrive.ts'
import { type FunctionContext, functionPlace, untilTimeIsShort } from './settings.ts'

/** Returns what was found and what was sent, by class. What may kill workers stays for a person to decide. */
export async function handler(_event: unknown, context?: FunctionContext): Promise<RedriveTally> {
  const place = await functionPlace()
  return await redriveDeadLetters({
    ...place,
    classes: new Set(['try-again']),
    stop: untilTimeIsShort(context),
  })
}
