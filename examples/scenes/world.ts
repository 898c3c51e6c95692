// Which things, backgrounds and manners of drawing there are: a model's world.json. It knows no scene.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { UserError } from '../../schemas/errors.ts'
import { World } from '../../schemas/world.ts'

/** The world of the model that ships. */
export const shippedWorld = fileURLToPath(new URL('../../models/scenes-v2/world.json', import.meta.url))

/** Throws UserError where the file is no world. */
export async function readWorld(file: string = shippedWorld): Promise<World> {
  try {
    return World.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (error) {
    throw new UserError(`--world ${file} cannot be read as the world.json of a model`, { cause: error })
  }
}
