// Captions as COCO has them, and NoCaps, whose images have domains: several references for each image.
import { ciderD } from '../cider.ts'
import { nocapsDomains, scoreNocaps } from '../nocaps.ts'
import { ptbTokens } from '../ptb-tokens.ts'
import {
  type Benchmark,
  type BenchmarkLayout,
  type BenchmarkScore,
  fileLike,
  firstImages,
  openImageFinder,
} from './benchmark.ts'
import { CocoCaptions } from './coco-json.ts'
import { parseAs } from './parse.ts'

/** NoCaps also gives lists of images alone, without captions: nocaps_test_image_info.json. */
const pattern = /(?:^|\/)(?:captions|nocaps(?![^/]*image_info))[^/]*\.json$/i

export const captionsFiles: BenchmarkLayout = {
  kind: 'captions',
  files: 'captions_….json, or nocaps_….json whose images have a domain',
  matches: (names) => names.some((name) => pattern.test(name)),
  async read(files) {
    const name = fileLike(files, pattern, 'captions_….json')
    const { images, annotations } = parseAs(CocoCaptions, await files.readJson(name), name)
    const find = openImageFinder(files)
    const references = Map.groupBy(annotations, (annotation) => annotation.image_id)
    const all = images.flatMap(({ id, file_name: file, domain }) => {
      const texts = (references.get(id) ?? []).map(({ caption }) => caption)
      return texts.length === 0 ? [] : [{ key: file, texts, domain }]
    })
    // Only images that are asked about have to be there.
    return benchmarkOf(firstImages(all, files, find))
  },
}

type Row = { key: string; texts: string[]; domain: string | undefined }

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'captions',
    about: `captions: ${rows.length} images, ${rows.reduce((sum, { texts }) => sum + texts.length, 0)} references`,
    tasks: ['caption'],
    items: rows.map(({ key }) => ({ key })),
    score(said) {
      const inputs = rows.map((row) => {
        const caption = said.get(row.key)?.caption ?? ''
        return { ...row, caption, candidate: ptbTokens(caption), references: row.texts.map(ptbTokens) }
      })
      const { each, mean } = ciderD(inputs)
      const scored = inputs.map((input, index) => ({ ...input, score: each[index] ?? 0 }))
      return {
        rows: [
          // Named by its tokeniser: with another one the figure moves.
          { name: 'CIDEr-D(ts-ptb)', value: hundredfold(mean), of: rows.length },
          ...domainRows(scored),
        ],
        worst: scored
          .toSorted((a, b) => a.score - b.score)
          .map(({ key, caption, score, texts }) => ({
            key,
            asked: `CIDEr-D ${hundredfold(score)}`,
            said: caption,
            expected: texts.slice(0, 2).join(' / '),
          })),
      }
    },
  }
}

/** None where no image has a domain of NoCaps. */
function domainRows(scored: readonly (Row & { score: number })[]): BenchmarkScore['rows'] {
  const inDomains = scored.flatMap(({ domain: name, score }) => {
    const domain = nocapsDomains.find((known) => known === name)
    return domain === undefined ? [] : [{ domain, score }]
  })
  if (inDomains.length === 0) return []
  return Object.entries(scoreNocaps(inDomains)).map(([name, score]) => ({
    name: `CIDEr-D(ts-ptb) ${name}`,
    value: score === null ? null : hundredfold(score),
    of: inDomains.filter(({ domain }) => domain === name).length,
  }))
}

/** As papers print it. */
function hundredfold(score: number): number {
  return Math.round(score * 10_000) / 100
}
