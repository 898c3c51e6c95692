// A histogram as an SVG that reads in light and dark. Pure; text is escaped.
import type { Histogram } from './statistics.ts'

const [width, height, left, right, bottom, top] = [410, 190, 40, 14, 44, 34]

/** Fewer bars than this would be as wide as doors, more as thin as hairs. */
const [leastBars, mostBars] = [8, 20]
const mostTicks = 8

/** Bars over their values; empty ones at the end are left out, and the last of all holds everything beyond. */
export function histogramSvg(
  whole: Histogram,
  { title, unit, decimals = 0 }: { title: string; unit: string; decimals?: number },
): string {
  const { binWidth, counts, total } = coarsen(whole)
  const shown = counts.slice(0, Math.max(leastBars, counts.findLastIndex((count) => count > 0) + 1))
  // A bar of whole numbers stands for one of them, so its name stands under its middle.
  const isOne = decimals === 0 && binWidth === 1
  const highest = Math.max(1, ...shown)
  const step = (width - left - right) / shown.length
  const floor = height - bottom
  const valueAt = (index: number) => (index * binWidth).toFixed(decimals)
  // Of whole numbers the end of a bar is the last that it holds: 5 to 9.
  const rangeAt = (index: number) =>
    `${valueAt(index)} to ${decimals === 0 ? String((index + 1) * binWidth - 1) : valueAt(index + 1)}`
  const bars = shown.map((count, index) => {
    const tall = (count / highest) * (floor - top)
    const isLast = index === counts.length - 1
    const values = isLast ? `${valueAt(index)} and more` : isOne ? valueAt(index) : rangeAt(index)
    const label = `${values}: ${count}`
    return `<rect x="${(left + index * step + 1).toFixed(1)}" y="${(floor - tall).toFixed(1)}" width="${Math.max(1, step - 2).toFixed(1)}" height="${tall.toFixed(1)}" rx="1.5"><title>${escapeXml(label)}</title></rect>`
  })
  const every = Math.ceil(shown.length / mostTicks)
  const ticks = shown.flatMap((_, index) =>
    index % every === 0
      ? [
          `<text x="${(left + (index + (isOne ? 0.5 : 0)) * step).toFixed(1)}" y="${floor + 16}" text-anchor="middle">${valueAt(index)}</text>`,
        ]
      : [],
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">
<style>text{font:11px system-ui,sans-serif;fill:#666}.title{font-size:13px;font-weight:600;fill:#222}rect{fill:#3874cb}line{stroke:#999}.grid{stroke:#ddd}.bg{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#aaa}.title{fill:#eee}rect{fill:#7fb0ff}line{stroke:#777}.grid{stroke:#333}.bg{fill:#17181a}}</style>
<rect class="bg" width="${width}" height="${height}" rx="6"/>
<text class="title" x="${left}" y="20">${escapeXml(title)}</text>
<text x="${width - right}" y="20" text-anchor="end">${total} in all</text>
<line class="grid" x1="${left}" x2="${width - right}" y1="${top}" y2="${top}"/>
<text x="${left - 6}" y="${top + 4}" text-anchor="end">${highest}</text>
<text x="${left - 6}" y="${floor + 4}" text-anchor="end">0</text>
${bars.join('\n')}
<line x1="${left}" x2="${width - right}" y1="${floor}" y2="${floor}"/>
${ticks.join('\n')}
<text x="${width - right}" y="${height - 8}" text-anchor="end">${escapeXml(unit)}</text>
</svg>
`
}

/** Fewer, wider bins where there are too many for bars; what is beyond stays in the last of all. */
function coarsen({ binWidth, counts, total }: Histogram): Histogram {
  const used = counts.findLastIndex((count) => count > 0) + 1
  const factor = [1, 2, 5, 10, 20, 50].find((one) => used <= one * mostBars) ?? 100
  const wide: number[] = []
  // The last bin, which holds all beyond, has a round number and so begins a bar of its own.
  for (const [index, count] of counts.entries()) {
    const bar = Math.floor(index / factor)
    wide[bar] = (wide[bar] ?? 0) + count
  }
  return { binWidth: binWidth * factor, counts: wide, total }
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
