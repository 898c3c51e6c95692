// Positions and experts of the worked example in the facts about the family, and the layouts that are refused.
import { describe, expect, it } from 'vitest'
import { sequencePositions, visionExpertMask, visionRange } from '../../gpu-worker/engine/layout.ts'
import { imagePositions } from '../../gpu-worker/engine/prefix.ts'
import { UserError } from '../../schemas/errors.ts'

function types(text: string): number[] {
  return Array.from(text, Number)
}

describe('token types', () => {
  it.each([
    {
      name: 'four patches, five text tokens',
      types: '011111100000',
      positions: [0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8],
      experts: 'LVVVVVLLLLLL',
    },
    { name: 'one patch', types: '011100', positions: [0, 1, 2, 3, 4, 5], experts: 'LVVLLL' },
    { name: 'no patch between boi and eoi', types: '01100', positions: [0, 1, 2, 3, 4], experts: 'LVLLL' },
    { name: 'text alone', types: '00000', positions: [0, 1, 2, 3, 4], experts: 'LLLLL' },
    { name: 'an image at the end', types: '01111', positions: [0, 1, 2, 2, 3], experts: 'LVVVL' },
    { name: 'bos alone', types: '0', positions: [0], experts: 'L' },
    {
      name: 'two images with text between',
      types: '01111011110',
      positions: [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8],
      experts: 'LVVVLLVVVLL',
    },
  ])('$name', ({ types: text, positions, experts }) => {
    expect(sequencePositions(types(text))).toEqual(positions)
    expect(
      visionExpertMask(types(text))
        .map((vision) => (vision ? 'V' : 'L'))
        .join(''),
    ).toBe(experts)
  })

  it.each([1, 4, 16, 1225, 2304])(
    'an image of %i patches has the positions that its prefix is built with',
    (patches) => {
      const sequence = [0, ...Array.from({ length: patches + 2 }, () => 1), 0]
      expect(sequencePositions(sequence)).toEqual([0, ...imagePositions(patches), 4])
      expect(visionExpertMask(sequence).filter(Boolean)).toHaveLength(patches + 1)
    },
  )
})

describe('the place of the image', () => {
  const pixels = new Float32Array(1)
  const range = (text: string, image: Float32Array | null = pixels): unknown =>
    visionRange({ inputIds: types(text), tokenTypeIds: types(text), pixels: image }, 2)

  it('is right behind bos', () => {
    expect(range('0111100')).toEqual({ start: 1, end: 5 })
    expect(range('000', null)).toBeUndefined()
  })

  it.each([
    { name: 'an image without pixels', text: '0111100', image: null, says: /pixel_values is null/ },
    {
      name: 'pixels without an image',
      text: '00000',
      image: pixels,
      says: /no element of token_type_ids is 1/,
    },
    {
      name: 'text before the image',
      text: '0011110',
      image: pixels,
      says: /one run of 4 right behind bos; seen: 4 from index 2 to 5/,
    },
    { name: 'no bos', text: '1111000', image: pixels, says: /right behind bos/ },
    { name: 'too few placeholders', text: '0111000', image: pixels, says: /seen: 3 from index 1 to 3/ },
    { name: 'two runs', text: '0110110', image: pixels, says: /one run of 4/ },
  ])('$name is refused', ({ text, image, says }) => {
    expect(() => range(text, image)).toThrow(UserError)
    expect(() => range(text, image)).toThrow(says)
  })

  it('needs one type a token', () => {
    expect(() => visionRange({ inputIds: [1, 2], tokenTypeIds: [0], pixels: null }, 2)).toThrow(
      /1 elements, input_ids 2/,
    )
  })
})
