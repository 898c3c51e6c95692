// Where the image stands in a sequence, which expert each row takes, and each row's rotary position.
// Pure; the rules of the released modelling code, restated (build_position_ids, get_expert_mask).
import { UserError } from '../../schemas/errors.ts'

/** A row takes the visual expert when it and the row after it are image rows; the last image row (eoi) does not. */
export function visionExpertMask(tokenTypeIds: readonly number[]): boolean[] {
  return tokenTypeIds.map((type, index) => type === 1 && tokenTypeIds[index + 1] === 1)
}

/**
 * Positions by token type. The first and the last row of an image run (boi, eoi) count as text; every text row and the
 * first row of the remaining image rows steps on by one; all other image rows repeat the position before them.
 */
export function sequencePositions(tokenTypeIds: readonly number[]): number[] {
  const isImage = tokenTypeIds.map((type, index) => {
    const inside = tokenTypeIds[index - 1] === 1 && tokenTypeIds[index + 1] === 1
    return type === 1 && inside
  })
  let position = -1
  return isImage.map((image, index) => {
    const repeats = image && isImage[index - 1] === true
    if (!repeats) position += 1
    return position
  })
}

/** Rows [start, end) of the image: boi, patches, eoi. Undefined for text. Throws UserError for layouts no prompt has. */
export function visionRange(
  {
    inputIds,
    tokenTypeIds,
    pixels,
  }: { inputIds: readonly number[]; tokenTypeIds: readonly number[]; pixels: Float32Array | null },
  patchRows: number,
): { start: number; end: number } | undefined {
  if (tokenTypeIds.length !== inputIds.length) {
    throw new UserError(
      `token_type_ids has ${tokenTypeIds.length} elements, input_ids ${inputIds.length}; they must be equal`,
    )
  }
  const start = tokenTypeIds.indexOf(1)
  if (start === -1) {
    if (pixels !== null) throw new UserError('pixel_values are given, but no element of token_type_ids is 1')
    return undefined
  }
  if (pixels === null) throw new UserError('token_type_ids marks an image, but pixel_values is null')
  const end = tokenTypeIds.lastIndexOf(1) + 1
  const count = tokenTypeIds.filter((type) => type === 1).length
  if (start !== 1 || count !== end - start || count !== patchRows + 2) {
    throw new UserError(
      `the image's placeholders must be one run of ${patchRows + 2} right behind bos; seen: ${count} from index ${start} to ${end - 1}`,
    )
  }
  return { start, end }
}
