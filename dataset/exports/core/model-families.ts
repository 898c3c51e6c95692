// What is known about the model families behind labels: base language model, what its weights allow, inherited biases.
// Goes by the name and the licence that the checkpoint declares; says so when it knows neither.
export type ModelFamily = {
  family: string
  baseModel: string
  biases: string
}

const webScale =
  'web-scale image-text pairs (mostly English, mostly of the Western web), with their stereotypes about people, places and jobs'

/** The more particular names first. */
const families: readonly (ModelFamily & { pattern: RegExp })[] = [
  {
    pattern: /scenes-v\d/i,
    family: 'coglabel scenes',
    baseModel: 'none: trained from nothing on drawn scenes',
    biases:
      'knows 64 drawn things and says one of their names for whatever it sees; its wording is a template',
  },
  {
    pattern: /cogvlm2/i,
    family: 'CogVLM2',
    baseModel: 'Meta-Llama-3-8B-Instruct',
    biases: `${webScale}; Llama 3's instruction tuning; answers tend to be long and to sound sure`,
  },
  {
    pattern: /cogvlm|cogagent/i,
    family: 'CogVLM',
    baseModel: 'Vicuna-7B-v1.5, itself LLaMA 2 tuned on conversations that people shared',
    biases: `${webScale}; Vicuna's, from conversations with ChatGPT; tends to name one box where there are several things`,
  },
]

export function familyOf(model: { name: string }): ModelFamily {
  const found = families.find(({ pattern }) => pattern.test(model.name))
  if (found !== undefined) return { family: found.family, baseModel: found.baseModel, biases: found.biases }
  return {
    family: 'unknown to this tool',
    baseModel: 'unknown to this tool; ask whoever made the checkpoint',
    biases: 'unknown to this tool; at least those of its training data',
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
