// How families of models write boxes in their answers, and what is known of each. Data; box-text.ts reads by it. It does
// not know servers or tasks.

/** Width and height, in pixels, of the picture that the model was sent. */
export type PictureSize = { width: number; height: number }

export type BoxDialect = {
  name: string
  /** Names of models that write like this; the first dialect that fits is taken. */
  models: RegExp
  /** What the far edge of the picture is written as, on each axis. */
  far: 'pixels' | number
  order: 'xyxy' | 'yxyx'
  /** inline: behind the words; json: a list of objects; cells: two marks, for squares of a grid of `far` by `far`. */
  style: 'inline' | 'json' | 'cells'
  /** A box, as the model is told to write it. */
  shape: string
  /** What its numbers are, as the model is told. */
  unit: string
  /** Of json: the key that holds the box. */
  key?: string
  /** Digits behind the point when a box is written into a question. */
  decimals: number
  /** Both sides of the picture shall be multiples of it, so that the server's own resizing leaves them alone. */
  grid: number
}

const common = { order: 'xyxy', style: 'inline', decimals: 0, grid: 1 } as const
const thousandths = { far: 1000, unit: 'in thousandths of the width and height of the image' } as const

/** The more particular names first. */
export const boxDialects: readonly BoxDialect[] = [
  {
    ...common,
    ...thousandths,
    name: 'cogvlm',
    models: /cogvlm|cogagent|glm-?4(\.\d+)?v/i,
    shape: '[[x0,y0,x1,y1]]',
  },
  // Relative again since 3, in the JSON of 2.5: Qwen3-VL, cookbooks/2d_grounding.ipynb.
  {
    ...common,
    ...thousandths,
    name: 'qwen3-vl',
    models: /qwen-?3(\.\d+)?-?(vl|omni)/i,
    style: 'json',
    key: 'bbox_2d',
    shape: '[x0, y0, x1, y1]',
  },
  // Of the picture after its processor has rounded both sides to 28: Qwen2.5-VL, cookbooks/spatial_understanding.ipynb.
  {
    ...common,
    name: 'qwen2.5-vl',
    models: /qwen-?2\.5-?(vl|omni)/i,
    far: 'pixels',
    unit: 'in pixels of the image',
    style: 'json',
    key: 'bbox_2d',
    shape: '[x0, y0, x1, y1]',
    grid: 28,
  },
  { ...common, ...thousandths, name: 'qwen2-vl', models: /qwen-?2?-?vl/i, shape: '(x0,y0),(x1,y1)' },
  {
    ...common,
    ...thousandths,
    name: 'internvl',
    models: /intern-?vl|intern-?s1/i,
    shape: '<box>[[x0, y0, x1, y1]]</box>',
  },
  {
    ...common,
    name: 'deepseek-vl2',
    models: /deepseek-?vl/i,
    far: 999,
    unit: 'from 0 to 999 across the image',
    shape: '<|det|>[[x0, y0, x1, y1]]<|/det|>',
  },
  {
    ...common,
    ...thousandths,
    name: 'gemini',
    models: /gemini/i,
    order: 'yxyx',
    style: 'json',
    key: 'box_2d',
    shape: '[y0, x0, y1, x1]',
  },
  // Upper left and lower right square: transformers, processing_kosmos2.py.
  {
    ...common,
    name: 'kosmos-2',
    models: /kosmos-?2/i,
    far: 32,
    unit: 'of a grid of 32 by 32 squares',
    style: 'cells',
    shape: '<patch_index_0000><patch_index_1023>',
  },
  {
    ...common,
    name: 'fractions',
    models: /llava|shikra|vicuna/i,
    far: 1,
    unit: 'in fractions of the width and height of the image',
    decimals: 3,
    shape: '[x0, y0, x1, y1]',
  },
]

/** The dialect of a model by its name; null where none is known. */
export function dialectOfModel(model: string): BoxDialect | null {
  return boxDialects.find(({ models }) => models.test(model)) ?? null
}
