// A histogram as an SVG that reads in light and dark. Pure; text is escaped.
import type { Histogram } from './statistics.ts'

const [width, height, left, bottom, top] = [640, 240, 48, 40, 32]

/** Bars over their values; the last bar holds everything beyond. */
export function histogramSvg(
  { binWidth, counts, total }: Histogram,
  { title, unit, decimals = 0 }: { title: string; unit: string; decimals?: number },
): string {
  const highest = Math.max(1, ...counts)
  const step = (width - left - 8) / counts.length
  const bars = counts.map((count, index) => {
    const tall = (count / highest) * (height - bottom - top)
    const label = `${(index * binWidth).toFixed(decimals)}${index === counts.length - 1 ? ' and more' : ''}: ${count}`
    return `<rect x="${(left + index * step + 1).toFixed(1)}" y="${(height - bottom - tall).toFixed(1)}" width="${Math.max(1, step - 2).toFixed(1)}" height="${tall.toFixed(1)}"><title>${escapeXml(label)}</title></rect>`
  })
  const every = Math.max(1, Math.ceil(counts.length / 10))
  const ticks = counts.flatMap((_, index) =>
    index % every === 0
      ? [
          `<text x="${(left + index * step).toFixed(1)}" y="${height - bottom + 16}">${(index * binWidth).toFixed(decimals)}</text>`,
        ]
      : [],
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">
<style>text{font:12px sans-serif;fill:#555}rect{fill:#2a78b8}.bg{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#bbb}rect{fill:#6db3e8}.bg{fill:#161616}}</style>
<rect class="bg" width="${width}" height="${height}"/>
<text x="${left}" y="20">${escapeXml(title)} (${total})</text>
${bars.join('\n')}
${ticks.join('\n')}
<text x="${width - 8}" y="${height - 6}" text-anchor="end">${escapeXml(unit)}</text>
<text x="4" y="${top + 10}">${highest}</text>
</svg>
`
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
