// Holds what only training draws with: what each set shows, whose it is, and that nothing else needs it.
import { describe, expect, it } from 'vitest'
import { readRepositoryFile, sourceFiles } from './source-tree.ts'

type Style = {
  name: string
  package: string
  by: string
  licence: string
  draws?: string
  inks?: string
  inkWidth?: number
}
/** Of one package of Debian's or, for sketches, of npm's, with its version. */
type Pictures = { package: string; name: string; by: string; licence: string; draws: string }
type Names = Record<string, string>

// Our own files; npm wrote the second and the third.
const { styles } = readJson('training/icons/styles.json') as { styles: Style[] }
const { dependencies } = readJson('training/icons/package.json') as { dependencies: Names }
const pictures = (
  readJson('training/icons/pictures.json') as { packages: (Pictures & { version: string })[] }
).packages
const sketches = readJson('training/icons/sketches.json') as Pictures
const lockfile = readJson('training/icons/package-lock.json') as {
  packages: Record<string, { integrity?: string; resolved?: string }>
}
const world = readJson('models/scenes-v2/world.json') as {
  styles: Record<'trained' | 'heldOut' | 'alsoTrained', string[]>
  concepts: { name: string }[]
}
const ofWorld = world.styles.alsoTrained.map((name) => `@iconify-json/${name}`)
// Debian's packages, which training/train.sh names; npm has the others.
const ofDebian = ['fonts-ancient-scripts', 'openclipart-svg']
const ofRepository = Object.keys((readJson('package.json') as { devDependencies: Names }).devDependencies)

describe('training/icons', () => {
  it('depends on the sets that are drawn with, in exact versions, and on no other', () => {
    const drawn = new Set([...styles.map((style) => style.package), ...ofWorld])
    for (const elsewhere of [...ofDebian, ...ofRepository]) drawn.delete(elsewhere)
    expect(Object.keys(dependencies).toSorted()).toEqual([...drawn].toSorted())
    expect(Object.values(dependencies).filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
  })

  it('has what it takes from Debian named where training says what to install', () => {
    const recipe = readRepositoryFile('training/train.sh')
    expect(ofDebian.filter((name) => !recipe.includes(name))).toEqual([])
  })

  it('names no host to fetch from, and has an integrity for every package', () => {
    const locked = Object.entries(lockfile.packages).filter(([path]) => path !== '')
    const loose = locked.filter(
      ([, { integrity, resolved }]) => resolved !== undefined || !integrity?.startsWith('sha512-'),
    )
    expect(locked.length).toBeGreaterThan(0)
    expect(loose.map(([path]) => path)).toEqual([])
  })

  it('holds nothing of a manner of drawing that is held out', () => {
    const heldOut = world.styles.heldOut.filter((name) =>
      JSON.stringify([styles, dependencies, pictures, sketches]).includes(name),
    )
    expect(heldOut).toEqual([])
  })

  it('names every manner once, and draws each concept of the world at most once in it', () => {
    const names = [...Object.values(world.styles).flat(), ...styles.map(({ name }) => name)]
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
    const concepts = new Set(world.concepts.map(({ name }) => name))
    const wrong = styles.flatMap(({ name, draws = '' }) => {
      const drawn = draws.split(' ').flatMap((item) => item.split('=')[0] || [])
      return drawn
        .filter((concept, index) => !concepts.has(concept) || drawn.indexOf(concept) !== index)
        .map((concept) => `${name}: ${concept}`)
    })
    expect(wrong).toEqual([])
  })

  it('draws around shapes of manners that the world names, none of them held out', () => {
    const known = [...world.styles.trained, ...world.styles.alsoTrained]
    const wrong = styles.filter(
      ({ inks, inkWidth, package: from }) =>
        (inks !== undefined || inkWidth !== undefined) &&
        (!known.includes(inks ?? '') ||
          from !== `@iconify-json/${inks}` ||
          !(inkWidth! > 0 && inkWidth! < 0.1)),
    )
    expect(wrong.map(({ name }) => name)).toEqual([])
  })

  it('holds only sets under licences that ask for no more than to be named, as models/README.md does', () => {
    const free = [
      'MIT',
      'ISC',
      'Apache-2.0',
      'CC-BY-3.0',
      'CC-BY-4.0',
      'CC0-1.0',
      'OFL-1.1',
      'free for any use',
      'public domain',
    ]
    expect(styles.filter(({ licence }) => !free.includes(licence)).map(({ name }) => name)).toEqual([])
    const card = readRepositoryFile('models/README.md')
    const unnamed = styles.filter(
      (style) => !card.includes(`| ${style.by} | ${style.licence} | \`${style.package}\` |`),
    )
    expect(unnamed.map(({ name }) => name)).toEqual([])
  })

  it('names its pictures and sketches, their exact versions, and whose they are, as models/README.md does', () => {
    const card = readRepositoryFile('models/README.md')
    const unnamed = [...pictures, sketches].filter(
      ({ by, licence, package: from }) =>
        !card.includes(`| ${by} | ${licence} | \`${from.split('@')[0]}\` |`),
    )
    expect(unnamed.map(({ name }) => name)).toEqual([])
    expect(pictures.filter(({ version }) => !/^(\d+:)?\d[\w.+~]*-[\w.+~]+$/.test(version))).toEqual([])
    expect(sketches.package).toMatch(/^[\w.]+@\d+\.\d+\.\d+$/)
  })

  it('shows concepts of the world in its pictures and sketches', () => {
    const concepts = new Set(world.concepts.map(({ name }) => name))
    const shown = [...pictures, sketches].flatMap(({ draws }) => draws.split(' '))
    expect(shown.length).toBeGreaterThan(1000)
    expect(shown.filter((item) => !concepts.has(item.split('=')[0] ?? ''))).toEqual([])
  })

  it('is needed by training alone', () => {
    const only = Object.keys(dependencies)
    const users = sourceFiles().filter(
      ({ path, text }) => !path.startsWith('training/') && only.some((name) => text.includes(name)),
    )
    expect(users.map(({ path }) => path)).toEqual([])
  })
})

function readJson(path: string): unknown {
  return JSON.parse(readRepositoryFile(path))
}
