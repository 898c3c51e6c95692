// The things a small model knows, as world.json beside its weights names them. It does not know how they are drawn or asked.
import { z } from 'zod'

const Name = z.string().min(1)

const Spoken = z.strictObject({ name: Name, plural: Name })

export const Concept = Spoken.extend({
  category: Name.describe('things of one category resemble each other: the hard negatives come from it'),
  icon: Name.describe('name of its drawing in the icon sets'),
  iconIn: z.record(z.string(), Name).optional().describe('sets that spell the icon otherwise, by set'),
  colour: Name.optional().describe('only where the drawing has a clear one in every set'),
  skipIn: z.array(Name).optional().describe('sets whose icon of that name shows something else'),
  synonyms: z.array(Spoken).optional().describe('other words that mean the same thing'),
})
export type Concept = z.infer<typeof Concept>

const Channel = z.int().min(0).max(255)

export const Background = z.strictObject({ name: Name, rgb: z.tuple([Channel, Channel, Channel]) })
export type Background = z.infer<typeof Background>

export const ScenePattern = z.enum(['plain', 'gradient', 'noisy', 'striped'])
export type ScenePattern = z.infer<typeof ScenePattern>

const Fraction = z.number().min(0).max(1)

export const World = z.strictObject({
  version: z.literal(1),
  about: z.string(),
  styles: z
    .strictObject({
      trained: z.array(Name),
      heldOut: z.array(Name),
      alsoTrained: z
        .array(Name)
        .optional()
        .describe('seen in training wherever they draw a concept; test scenes do not use them'),
    })
    .describe('icon sets, each a package @iconify-json/NAME'),
  scene: z.strictObject({
    objects: z.strictObject({ min: z.int().positive(), max: z.int().positive() }),
    longerSide: z
      .strictObject({ min: Fraction, max: Fraction })
      .describe("of an object, as a share of the picture's same side"),
    maxOverlapIoU: Fraction,
    heldOutPairs: z
      .strictObject({ modulus: z.int().positive(), remainder: z.int().nonnegative() })
      .describe(
        'two concepts whose places in the list add up to a number that leaves `remainder` when divided by `modulus` were never together in a training scene',
      ),
    patterns: z.array(ScenePattern).min(1),
  }),
  colours: z.array(Name),
  backgrounds: z.array(Background).min(1),
  concepts: z.array(Concept).min(1),
})
export type World = z.infer<typeof World>

/** Whether two concepts, by their places in the list, were never together in a training scene. */
export function isHeldOutPair({ scene }: World, left: number, right: number): boolean {
  const { modulus, remainder } = scene.heldOutPairs
  return left !== right && (left + right) % modulus === remainder
}

/** Every word for a concept, singular and plural, lower case. */
export function wordsOf({ name, plural, synonyms = [] }: Concept): string[] {
  const words = [name, plural, ...synonyms.flatMap((other) => [other.name, other.plural])]
  return [...new Set(words.map((word) => word.toLowerCase()))]
}
