// What is known about the model families behind labels: base language model, what its weights allow, inherited biases.
// Goes by the name and the licence that the checkpoint declares; says so when it knows neither.
export type ModelFamily = {
  family: string
  baseModel: string
  biases: string
  /** What the licence of the base model asks of what is made with it; null where nothing of that kind is known. */
  terms: string | null
}

const webScale =
  'web-scale image-text pairs (mostly English, mostly of the Western web), with their stereotypes about people, places and jobs'

const webAndChinese =
  'web-scale image-text pairs, mostly English and Chinese, with their stereotypes about people, places and jobs'

const llamaTerms = (name: string) =>
  `the ${name} licence of the base model says: its output may not be used to improve any other large language model`

/** The more particular names first. Of models behind a server the name is all that is known. */
const families: readonly (ModelFamily & { pattern: RegExp })[] = [
  {
    pattern: /scenes-v\d/i,
    family: 'coglabel scenes',
    baseModel: 'none: trained from nothing on drawn scenes',
    biases:
      'knows 160 drawn things and says one of their names for whatever it sees; its wording is a template',
    terms: null,
  },
  {
    pattern: /cogvlm2/i,
    family: 'CogVLM2',
    baseModel: 'Meta-Llama-3-8B-Instruct',
    biases: `${webScale}; Llama 3's instruction tuning; answers tend to be long and to sound sure`,
    terms: `${llamaTerms('Llama 3')}, and models made with it are named "Llama 3 …"`,
  },
  {
    pattern: /cogvlm|cogagent/i,
    family: 'CogVLM',
    baseModel: 'Vicuna-7B-v1.5, itself LLaMA 2 tuned on conversations that people shared',
    biases: `${webScale}; Vicuna's, from conversations with ChatGPT; tends to name one box where there are several things`,
    terms: llamaTerms('Llama 2'),
  },
  {
    pattern: /qwen3-?vl/i,
    family: 'Qwen3-VL',
    baseModel: 'Qwen3',
    biases: webAndChinese,
    terms: null,
  },
  {
    pattern: /qwen2\.5-?vl/i,
    family: 'Qwen2.5-VL',
    baseModel: 'Qwen2.5',
    biases: webAndChinese,
    terms: null,
  },
  { pattern: /qwen2-?vl/i, family: 'Qwen2-VL', baseModel: 'Qwen2', biases: webAndChinese, terms: null },
  {
    pattern: /internvl/i,
    family: 'InternVL',
    baseModel: 'InternLM or Qwen, by its size: see its own card',
    biases: webAndChinese,
    terms: null,
  },
  {
    pattern: /deepseek-?vl2/i,
    family: 'DeepSeek-VL2',
    baseModel: 'DeepSeekMoE',
    biases: webAndChinese,
    terms: null,
  },
  {
    pattern: /llava/i,
    family: 'LLaVA',
    baseModel: 'Vicuna, LLaMA, Mistral or Qwen, by its version: see its own card',
    biases: `${webScale}; its instructions were written by GPT-4 from captions and boxes of COCO`,
    terms: 'trained on text of OpenAI models, whose terms forbid to develop competing models with it',
  },
]

export function familyOf(model: { name: string }): ModelFamily {
  const found = families.find(({ pattern }) => pattern.test(model.name))
  if (found !== undefined) {
    const { family, baseModel, biases, terms } = found
    return { family, baseModel, biases, terms }
  }
  return {
    family: 'unknown to this tool',
    baseModel: 'unknown to this tool; ask whoever made the checkpoint',
    biases: 'unknown to this tool; at least those of its training data',
    terms: null,
  }
}

export type LicenceVerdict = { isFree: boolean; sentence: string }

/** Licences that put no condition on who uses the output, and what for. */
const free = /^(apache-2\.0|mit|bsd-[23]-clause|cc0-1\.0|cc-by-4\.0)$/i

/** Whether labels made with weights under a licence may go anywhere; what is not known to be free is treated as not. */
export function judgeLicence(licence: string): LicenceVerdict {
  if (free.test(licence.trim())) return { isFree: true, sentence: `weights under ${licence}` }
  if (/cogvlm|non-?commercial|research|\bnc\b/i.test(licence))
    return {
      isFree: false,
      sentence: `weights under "${licence}": free for academic research; commercial use needs registration or permission`,
    }
  if (licence.trim() === '')
    return { isFree: false, sentence: 'weights without a stated licence: take it that nothing is permitted' }
  return {
    isFree: false,
    sentence: `weights under "${licence}": read it before you pass on what was made with them`,
  }
}
