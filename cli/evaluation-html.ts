// An evaluation as one HTML file that needs nothing else: figures, and the worst cases with their pictures. Pure text; it
// counts and draws nothing.

export type ReportCase = {
  title: string
  /** What was asked, said and expected, as label and text. */
  facts: (readonly [string, string])[]
  /** JPEG or PNG; null where the image cannot be shown. */
  picture: Uint8Array | null
}

export type Report = {
  title: string
  /** Model, images, when. */
  about: string
  head: readonly string[]
  rows: readonly (readonly string[])[]
  cases: readonly ReportCase[]
}

/** The page, with every text escaped: captions are what a model says, and names what files are called. */
export function renderReport({ title, about, head, rows, cases }: Report): string {
  const cells = (tag: 'th' | 'td', texts: readonly string[]) =>
    texts.map((text) => `<${tag}>${escapeHtml(text)}</${tag}>`).join('')
  const body = rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n')
  const worst =
    cases.length === 0
      ? ''
      : `<h2>The worst</h2>\n<div class="cases">\n${cases.map(renderCase).join('\n')}\n</div>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p { margin: 0 0 1.2rem; opacity: .75; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
figure img { width: 100%; display: block; background: #8882; }
figcaption { padding: .6rem .8rem; overflow-wrap: anywhere; }
dl { margin: .3rem 0 0; display: grid; grid-template-columns: auto 1fr; gap: .1rem .6rem; }
dt { opacity: .65; } dd { margin: 0; }
</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(about)}</p>
<div class="scroll"><table>
<thead><tr>${cells('th', head)}</tr></thead>
<tbody>
${body}
</tbody>
</table></div>
${worst}
</body>
</html>
`
}

function renderCase({ title, facts, picture }: ReportCase): string {
  const image =
    picture === null
      ? ''
      : `<img alt="${escapeHtml(title)}" src="data:${mimeOf(picture)};base64,${Buffer.from(picture).toString('base64')}">`
  const list = facts
    .map(([name, text]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(text)}</dd>`)
    .join('')
  return `<figure>${image}<figcaption><strong>${escapeHtml(title)}</strong><dl>${list}</dl></figcaption></figure>`
}

function mimeOf(picture: Uint8Array): string {
  return picture[0] === 0xff ? 'image/jpeg' : 'image/png'
}

function escapeHtml(text: string): string {
  const escapes: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  }
  return text.replaceAll(/[&<>"']/g, (character) => escapes[character] ?? character)
}
