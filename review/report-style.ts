// How the report of a run looks: one style sheet as text, so that its hash can stand in the page's policy.

const hues = [
  ['#1f66d1', '#7db0ff'],
  ['#b3470b', '#ffa566'],
  ['#0d7a5f', '#55d6b1'],
  ['#9a2f8f', '#ee93e3'],
  ['#7a6200', '#e6c84c'],
  ['#5b45c2', '#b3a4ff'],
  ['#b0284f', '#ff92ad'],
  ['#1b6f86', '#6cd3ec'],
]

export const reportStyle = `
:root{color-scheme:light dark;--paper:light-dark(#fbfaf8,#17181a);--raised:light-dark(#fff,#1e2023);--line:light-dark(#dedbd5,#303338);--ink:light-dark(#1d1c1a,#ecebe8);--soft:light-dark(#5f5b54,#a5a29b);--bad:light-dark(#ae2c25,#ff9c93);--changed:light-dark(#855000,#eab765)}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 28px 80px}
h1{margin:0;font-size:26px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:44px 0 12px;font-size:17px}
h3{margin:10px 0 4px;font-size:12px;font-weight:500;color:var(--soft);overflow-wrap:anywhere}
header p,section>p{margin:6px 0 0;color:var(--soft);max-width:80ch;overflow-wrap:anywhere}
.figures{display:flex;flex-wrap:wrap;gap:10px 44px;margin:26px 0 0}
.figures div{display:flex;flex-direction:column-reverse}
.figures dt{color:var(--soft);font-size:13px}
.figures dd{margin:0;font-size:32px;line-height:1.15;font-weight:600;font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.figures .bad dd{color:var(--bad)}
.figures .changed dd{color:var(--changed)}
table{border-collapse:collapse;font-size:14px}
th,td{padding:6px 18px 6px 0;border-bottom:1px solid var(--line);text-align:right;font-variant-numeric:tabular-nums}
thead th{font-weight:500;color:var(--soft);font-size:12px}
th:first-child,.text{text-align:left}
tbody th{font-weight:500}
.wide{overflow-x:auto}
td{white-space:nowrap}
td.text{max-width:60ch;min-width:20ch;white-space:normal}
.note{margin:10px 0 0;color:var(--soft);max-width:80ch;overflow-wrap:anywhere}
.warning{margin:14px 0 0;padding:10px 14px;border:1px solid var(--bad);border-radius:6px;color:var(--bad)}
pre{margin:8px 0 0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
.charts{display:flex;flex-wrap:wrap;gap:14px}
.charts img{width:365px;border:1px solid var(--line);border-radius:8px;max-width:100%;height:auto}
.failures{padding-left:18px;color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:30px 24px;margin-top:18px}
.gallery article{min-width:0}
@media(max-width:560px){main{padding:24px 16px 60px}.figures{gap:10px 28px}.figures dd{font-size:26px}.charts img{width:100%}}
.picture{position:relative}
.picture img{display:block;width:100%;border-radius:4px}
.picture svg{position:absolute;inset:0;width:100%;height:100%}
.picture rect{fill:none;stroke:var(--hue);stroke-width:2;vector-effect:non-scaling-stroke;paint-order:stroke}
.picture .problem{margin:0;font-family:inherit;padding:48px 16px;text-align:center;border:1px dashed var(--line);border-radius:4px;color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.gallery p{margin:0 0 6px;font:15px/1.45 ui-serif,Charter,Georgia,serif;overflow-wrap:anywhere}
.task{font:11px/1 system-ui,sans-serif;color:var(--soft);margin-right:8px}
.question{color:var(--soft)}
.bad{color:var(--bad)}
.words{border-bottom:2px solid var(--hue)}
${hues.map(([light, dark], index) => `.hue-${index}{--hue:light-dark(${light},${dark})}`).join('\n')}
@media print{.gallery article{break-inside:avoid}}
`
