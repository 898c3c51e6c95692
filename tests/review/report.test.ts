// The report of a run: one file, complete, and harmless whatever a model or a file name says.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { runReport } from '../../cli/report.ts'
import { writeVerdict } from '../../dataset/verdicts.ts'
import { escapeHtml } from '../../review/report.ts'
import { makeReviewRun, reviewImages, reviewRecordId } from '../helpers/review-run.ts'
import { runVerb } from '../helpers/verbs.ts'

async function report(args: string[] = [], images = reviewImages) {
  const { run, store } = await makeReviewRun(images)
  await writeVerdict(store, {
    v: 1,
    recordId: reviewRecordId('owl.png', 'ground'),
    verdict: 'accept',
    who: 'ada',
    at: '2026-01-01T00:00:00.000Z',
  })
  const { code, out } = await runVerb(runReport, [run, ...args])
  expect(code).toBe(0)
  return { html: await readFile(join(run, 'report.html'), 'utf8'), out }
}

it('tells counts, checks, failures, verdicts, and shows pictures with boxes', async () => {
  const { html, out } = await report()
  expect(out).toMatch(/^9 records of 5 images: .*report\.html$/)
  const text = html.replaceAll(/<style>[\s\S]*?<\/style>|<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ')
  expect(text).toContain('images 5 records 9 ok 7 filtered 1 failed 1')
  expect(text).toContain('region-cycle 1 of 1 100.0 % 0.910')
  expect(text).toContain('answer-empty 1 the model answered with nothing but space')
  expect(text).toContain('People looked at 1 of the records: 1 stand as they are (100.0 %)')
  expect(html.match(/<article>/g)).toHaveLength(5)
  expect(html.match(/<img src="data:image\/webp;base64,/g)).toHaveLength(4)
  expect(html.match(/<rect class="hue-/g)).toHaveLength(3)
  expect(html).toContain('was it moved or deleted?')
})

it('shows what every shape of label says, each region in the colour of its box, and failures once an image', async () => {
  const box = [0.1, 0.1, 0.5, 0.5] as [number, number, number, number]
  const { html } = await report(
    [],
    [
      {
        key: 'a.png',
        sample: 'owl.png',
        said: [
          {
            task: 'describe-region',
            output: {
              regions: [
                { box, text: 'An owl.' },
                { box, text: 'A sky.' },
              ],
            },
          },
          { task: 'tags', output: { tags: ['owl', 'sky'] } },
          { task: 'where', output: { value: 'On the left' } },
          { task: 'ask-questions', output: { questions: ['What is it?', 'Why?'] } },
          { task: 'qa', output: null, status: 'failed' },
          { task: 'caption', output: null, status: 'failed' },
        ],
      },
    ],
  )
  expect(html).toContain('<span class="words hue-0"><bdi>An owl.</bdi></span>')
  expect(html).toContain('<span class="words hue-1"><bdi>A sky.</bdi></span>')
  for (const said of ['owl, sky', 'On the left', 'What is it? · Why?'])
    expect(html).toContain(`<bdi>${said}</bdi>`)
  expect(html.match(/<li>/g)).toHaveLength(1)
  expect(html).toContain('<p><span class="task">caption, qa</span><span class="bad">answer-empty</span></p>')
  expect(html).toContain('<h2>Model</h2>')
  expect(html).toContain('<h2>What was asked</h2>')
})

it('says which kinds of questions need no image', async () => {
  const images = Array.from({ length: 20 }, (_, n) => ({
    key: `${n}.png`,
    sample: 'owl.png',
    said: [
      {
        task: 'qa',
        output: {
          turns: [
            {
              question: `What colour is the ${n % 2 === 0 ? 'apple' : 'sky'}?`,
              kind: 'colour',
              answer: n % 2 === 0 ? 'Red.' : 'Blue.',
            },
            { question: 'How many are there?', kind: 'count', answer: n < 15 ? 'One.' : 'Two.' },
          ],
        },
      },
    ],
  }))
  const { html } = await report(['--pictures', '0'], images)
  const text = html.replaceAll(/<style>[\s\S]*?<\/style>|<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ')
  expect(text).toContain('colour 20 50.0 % 100.0 % given away count 20 75.0 % 75.0 % ')
  expect((await report(['--pictures', '0'])).html).toContain('Questions answered without the image')
})

it('draws the same pictures again with the same seed', async () => {
  const names = (html: string) => [...html.matchAll(/<h3>(.*?)<\/h3>/g)].map(([, name]) => name)
  const [first, again, none] = [
    await report(['--pictures', '2', '--seed', '5']),
    await report(['--pictures', '2', '--seed', '5']),
    await report(['--pictures', '0']),
  ]
  expect(names(first.html)).toHaveLength(2)
  expect(names(first.html)).toEqual(names(again.html))
  expect(names(none.html)).toEqual([])
})

it('needs nothing from elsewhere, and its policy lets nothing but its own style in', async () => {
  const hostile = '</title><script>alert(1)</script><img src=https://x.example/y onerror=alert(1)>\u202Egnp'
  const images = [
    {
      key: `a/${hostile.replaceAll('/', '_')}`,
      sample: 'owl.png',
      said: [{ task: 'caption', output: { text: hostile } }],
    },
  ]
  const { html } = await report([], images)
  expect(html).not.toMatch(/<script|<img src=https|<link|<iframe|\son\w+=["']|\u202E/i)
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;')
  const policy = /content-security-policy" content="([^"]*)"/.exec(html)![1]!
  const style = /<style>([\s\S]*?)<\/style>/.exec(html)![1]!
  expect(policy).toBe(
    `default-src 'none'; img-src data:; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; base-uri 'none'; form-action 'none'`,
  )
  expect(html).not.toMatch(/style="/)
})

it('escapes what could leave a text or an attribute, and unpaired halves', () => {
  expect(escapeHtml(`<a href="x" b='y'>&\u0000\uD800`)).toBe(
    '&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;[U+0000]\uFFFD',
  )
})

it.each([
  [[], 'report takes one run folder'],
  [['nowhere'], 'is no run folder'],
  [['nowhere', '--pictures', 'many'], 'expected a whole number'],
])('called with %j it says what it needs', async (args, says) => {
  await expect(runVerb(runReport, args)).rejects.toThrow(says)
})
