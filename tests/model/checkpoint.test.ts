// Checkpoint folders: those that are read, and for each that is not, what the user is told.
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { UserError } from '../../schemas/errors.ts'
import {
  configOf,
  encodeTensors,
  randomTensors,
  smallShape,
  writeCheckpoint,
  writeRandomCheckpoint,
} from '../helpers/random-checkpoint.ts'
import type { CheckpointShape, RandomTensor } from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-checkpoint-'))
afterAll(() => rmSync(scratch, { recursive: true }))

let folderCount = 0

function freshFolder(): string {
  return join(scratch, String(folderCount++))
}

const shape: CheckpointShape = {
  ...smallShape,
  hidden: 16,
  inner: 20,
  heads: 2,
  kvHeads: 2,
  layers: 1,
  vocab: 30,
  vision: { ...smallShape.vision, layers: 1 },
}
const config = configOf(shape)
const second: CheckpointShape = {
  ...shape,
  family: 'cogvlm2',
  heads: 4,
  vision: { ...shape.vision, patchSize: 7 },
}

function compile(checkpointFolder: string): ReturnType<typeof compileModel> {
  return compileModel({ checkpointFolder, outFolder: freshFolder(), weights: 'fp32' })
}

/** A folder of files by name; a Buffer as it is, anything else as JSON. */
function folderOf(files: Record<string, unknown>): string {
  const folder = freshFolder()
  mkdirSync(folder, { recursive: true })
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(folder, name), Buffer.isBuffer(content) ? content : JSON.stringify(content))
  return folder
}

/** A good checkpoint with its tensors changed. */
function changed(change: (tensors: Map<string, RandomTensor>) => void, of = shape): string {
  const tensors = randomTensors(of, 1)
  change(tensors)
  const folder = freshFolder()
  writeCheckpoint(folder, { config: configOf(of), tensors })
  return folder
}

/** A good checkpoint with its config.json changed. */
function withConfig(change: Record<string, unknown>, of = shape): string {
  const folder = freshFolder()
  writeCheckpoint(folder, { config: { ...configOf(of), ...change }, tensors: randomTensors(of, 1) })
  return folder
}

const weights = encodeTensors(randomTensors(shape, 1))
const nothing = Buffer.alloc(0)
const vision = configOf(shape)['vision_config'] as Record<string, unknown> // made by configOf
const boi = 'model.vision.boi'
const head = 'lm_head.weight'

const refused: { name: string; folder: () => string; says: RegExp }[] = [
  { name: 'no folder', folder: () => join(scratch, 'nowhere'), says: /there is no folder .*nowhere/ },
  { name: 'a file', folder: () => join(folderOf({ x: 1 }), 'x'), says: /is a file; give the folder/ },
  { name: 'an empty folder', folder: () => folderOf({}), says: /has no config.json \(it holds: nothing\)/ },
  {
    name: 'SwissArmyTransformer',
    folder: () => folderOf({ 'model_config.json': {}, 'latest': 1 }),
    says: /SwissArmyTransformer checkpoint \(\.pt\).*Hugging Face release/,
  },
  {
    name: 'SwissArmyTransformer, its inner folder',
    folder: () => folderOf({ 'mp_rank_00_model_states.pt': nothing }),
    says: /SwissArmyTransformer/,
  },
  {
    name: 'pytorch_model.bin',
    folder: () => folderOf({ 'config.json': config, 'pytorch_model-00001-of-00002.bin': nothing }),
    says: /pytorch_model\*\.bin only.*safe_serialization=True/,
  },
  { name: 'no weights', folder: () => folderOf({ 'config.json': config }), says: /no \*\.safetensors/ },
  {
    name: 'config.json that is not JSON',
    folder: () => folderOf({ 'config.json': Buffer.from('{'), 'model.safetensors': weights }),
    says: /config\.json is not JSON/,
  },
  {
    name: 'bitsandbytes',
    folder: () => withConfig({ quantization_config: { load_in_4bit: true, quant_method: 'bitsandbytes' } }),
    says: /already quantized \(bitsandbytes\).*16-bit/,
  },
  {
    name: 'an older bitsandbytes',
    folder: () => withConfig({ quantization_config: { load_in_4bit: true } }),
    says: /already quantized \(bitsandbytes\)/,
  },
  {
    name: 'CogAgent',
    folder: () => withConfig({ architectures: ['CogAgentForCausalLM'] }),
    says: /CogAgent.*cross attention is not supported/,
  },
  {
    name: 'video by name',
    folder: () => withConfig({ architectures: ['CogVLMVideoForCausalLM'] }),
    says: /video or caption checkpoint.*no visual expert/,
  },
  {
    name: 'video by its tensors',
    folder: () =>
      changed((tensors) =>
        [...tensors.keys()].forEach((name) => name.includes('vision_expert') && tensors.delete(name)),
      ),
    says: /video or caption checkpoint/,
  },
  {
    name: 'LLaVA',
    folder: () => withConfig({ architectures: ['LlavaForConditionalGeneration'] }),
    says: /architecture LlavaForConditionalGeneration; CogVLMForCausalLM/,
  },
  {
    name: 'no architecture',
    folder: () => withConfig({ architectures: undefined, model_type: 'llama' }),
    says: /architecture llama/,
  },
  { name: 'another activation', folder: () => withConfig({ hidden_act: 'gelu' }), says: /hidden_act/ },
  {
    name: 'heads that do not divide',
    folder: () => withConfig({ num_attention_heads: 3 }),
    says: /hidden_size 16, which is no multiple of num_attention_heads 3/,
  },
  {
    name: 'heads of odd size',
    folder: () => withConfig({ num_attention_heads: 16 }),
    says: /in 16 heads of 1; rotary embedding needs an even size/,
  },
  {
    name: 'query groups that do not divide',
    folder: () => withConfig({ num_multi_query_heads: 3 }, second),
    says: /num_attention_heads 4, which is no multiple of num_multi_query_heads 3/,
  },
  {
    name: 'patches that do not fit',
    folder: () => withConfig({ vision_config: { ...vision, image_size: 30 } }),
    says: /image_size 30, which is no multiple of patch_size 14/,
  },
  {
    name: 'no two patches for the convolution',
    folder: () =>
      withConfig({ vision_config: { ...vision, image_size: 7, patch_size: 7, num_positions: 2 } }, second),
    says: /image_size 7 in patches of 7; the convolution of CogVLM2 needs two patches a side/,
  },
  {
    name: 'a wrong number of positions',
    folder: () => withConfig({ vision_config: { ...vision, num_positions: 17 } }),
    says: /num_positions 17.*needs 5/,
  },
  {
    name: 'a bos outside the vocabulary',
    folder: () => withConfig({ bos_token_id: 128_000 }),
    says: /bos_token_id 128000, outside the vocabulary of 30/,
  },
  {
    name: 'a missing tensor',
    folder: () => changed((tensors) => tensors.delete(head)),
    says: /1 missing: lm_head\.weight \[30, 16\]/,
  },
  {
    name: 'an extra tensor',
    folder: () => changed((tensors) => tensors.set('extra', { shape: [2], data: new Float32Array(2) })),
    says: /1 unexpected: extra \[2\]/,
  },
  {
    name: 'a misshapen tensor',
    folder: () => changed((tensors) => tensors.set(boi, { shape: [16], data: new Float32Array(16) })),
    says: /model\.vision\.boi is \[16\], expected \[1, 1, 16\]/,
  },
  {
    name: 'a transposed matrix',
    folder: () => changed((tensors) => tensors.set(head, { shape: [16, 30], data: new Float32Array(480) })),
    says: /lm_head\.weight is \[16, 30\], expected \[30, 16\]/,
  },
  {
    name: 'a config of more layers',
    folder: () => withConfig({ num_hidden_layers: 2 }),
    says: /12 missing: model\.layers\.1\..*and 6 more/,
  },
  {
    name: 'NaN in a norm',
    folder: () => changed((tensors) => tensors.get('model.norm.weight')?.data.fill(NaN, 3, 4)),
    says: /model\.norm\.weight holds NaN or infinity/,
  },
  {
    name: 'infinity in a matrix',
    folder: () => changed((tensors) => tensors.get(head)?.data.fill(Infinity, 400, 401)),
    says: /lm_head\.weight holds NaN or infinity/,
  },
]

describe('a checkpoint folder', () => {
  it.each(refused)('$name: refused with its own sentence', async ({ folder, says }) => {
    const path = folder()
    const error: unknown = await compile(path).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(UserError)
    expect(error).toHaveProperty('message', expect.stringMatching(new RegExp(says.source, 's')))
    // Nothing is left of the attempt.
    expect(readdirSync(scratch).filter((name) => name.includes('partial'))).toEqual([])
  })

  it('of the Hugging Face cache, where files are links to blobs, has the name of its repository', async () => {
    const cache = join(freshFolder(), 'models--SomeOrg--cogvlm-grounding-tiny')
    const snapshot = join(cache, 'snapshots', '0123456789abcdef')
    writeRandomCheckpoint(join(cache, 'blobs'), shape, { shardCount: 3 })
    mkdirSync(snapshot, { recursive: true })
    for (const [index, name] of readdirSync(join(cache, 'blobs')).entries()) {
      renameSync(join(cache, 'blobs', name), join(cache, 'blobs', `blob${index}`))
      symlinkSync(`../../blobs/blob${index}`, join(snapshot, name))
    }
    const manifest = await compile(snapshot)
    expect(manifest.name).toBe('cogvlm-grounding-tiny')
    expect(manifest.capabilities).toContain('ground')
  })

  it('gives the same compiled model from one file, from shards and through links', async () => {
    const [whole, shards, linked] = [freshFolder(), freshFolder(), freshFolder()]
    writeRandomCheckpoint(whole, shape)
    writeRandomCheckpoint(shards, shape, { shardCount: 4 })
    symlinkSync(shards, linked)
    const digests = []
    for (const folder of [whole, shards, linked]) digests.push((await compile(folder)).digest)
    expect(new Set(digests).size).toBe(1)
  })

  it('may hold the rotary buffers of each layer, which are then used', async () => {
    const stored = Float32Array.of(0.9, 0.5, 0.25, 0.125)
    const folder = changed((tensors) =>
      tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', { shape: [4], data: stored }),
    )
    expect((await compile(folder)).rotary.inverseFrequencies).toEqual([...stored])
    const recomputed = await compileModel({
      checkpointFolder: folder,
      outFolder: freshFolder(),
      weights: 'fp32',
      rotary: 'recomputed',
    })
    expect(recomputed.rotary.inverseFrequencies[1]).toBeCloseTo(10_000 ** (-2 / 8), 6)
  })

  it('with tied embeddings is what it is with the table as its head, which may then be missing or other', async () => {
    const table = (tensors: Map<string, RandomTensor>) => tensors.get('model.embed_tokens.weight')!
    const whole = await compile(changed((tensors) => tensors.set(head, table(tensors))))
    const tied = { ...config, tie_word_embeddings: true }
    for (const change of [
      (tensors: Map<string, RandomTensor>) => tensors.delete(head),
      (tensors: Map<string, RandomTensor>) => tensors.set(head, table(tensors)),
      () => undefined,
    ]) {
      const folder = changed(change)
      writeFileSync(join(folder, 'config.json'), JSON.stringify(tied))
      expect((await compile(folder)).digest).toBe(whole.digest)
    }
  })

  it.each([
    { generation: { eos_token_id: [3, 2, 9], do_sample: true }, eos: [2, 3, 9] },
    { generation: { eos_token_id: 4 }, eos: [2, 4] },
    { generation: { temperature: 0.6 }, eos: [2] },
  ])('ends its answers where generation_config.json says, too: $eos', async ({ generation, eos }) => {
    const folder = withConfig({})
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generation))
    expect((await compile(folder)).tokens.eos).toEqual(eos)
  })

  it('may say null where it says nothing', async () => {
    const nulls = {
      pad_token_id: null,
      eos_token_id: null,
      tie_word_embeddings: null,
      template_version: null,
    }
    const [bos, eos] = [1, 2]
    const { tokens, template } = await compile(withConfig(nulls))
    expect({ tokens, template }).toEqual({ tokens: { bos, eos: [eos], placeholder: 0 }, template: 'chat' })
  })

  it('brings its tokenizer, or is given one; a folder without one is refused before anything is written', async () => {
    const tokenizers = new URL('../golden/data/tokenizers/', import.meta.url).pathname
    const folder = freshFolder()
    writeRandomCheckpoint(folder, { ...shape, vocab: 320 })
    expect((await compile(folder)).tokenizer).toBeNull()
    const given = await compileModel({
      checkpointFolder: folder,
      outFolder: freshFolder(),
      tokenizerFolder: join(tokenizers, 'v1-320'),
    })
    expect(given.tokenizer).toEqual({ kind: 'sentencepiece', file: 'tokenizer.model' })
    copyFileSync(join(tokenizers, 'v2-320', 'tokenizer.json'), join(folder, 'tokenizer.json'))
    expect((await compile(folder)).tokenizer).toEqual({ kind: 'tokenizer-json', file: 'tokenizer.json' })
    let written = 0
    const wrong = compileModel({
      checkpointFolder: folder,
      outFolder: freshFolder(),
      tokenizerFolder: folderOf({ x: 1 }),
      onProgress: () => written++,
    })
    await expect(wrong).rejects.toThrow(/neither tokenizer.model nor tokenizer.json.*vicuna-7b-v1.5/s)
    const missing = compileModel({
      checkpointFolder: folder,
      outFolder: freshFolder(),
      tokenizerFolder: join(scratch, 'nowhere'),
      onProgress: () => written++,
    })
    await expect(missing).rejects.toThrow(/cannot read the tokenizer folder .*nowhere/)
    expect(written).toBe(0)
  })

  it('is not written to', async () => {
    const folder = freshFolder()
    writeRandomCheckpoint(folder, shape)
    cpSync(folder, `${folder}-copy`, { recursive: true })
    await compile(folder)
    expect(readdirSync(folder)).toEqual(readdirSync(`${folder}-copy`))
    await expect(compileModel({ checkpointFolder: folder, outFolder: folder })).rejects.toThrow(
      /exists and is not a compiled model/,
    )
  })
})
