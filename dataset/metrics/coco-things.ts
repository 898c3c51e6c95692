// The eighty things of COCO and other words for them, for caption scores over its images. It does not know images.
import type { World } from '../../schemas/world.ts'
import { openVocabulary, type Vocabulary } from './vocabulary.ts'

/** Name, then other words for it; plurals follow by rule. Young animals and kinds of vehicles as CHAIR counts them. */
const things = `
person: man woman child boy girl people men women children guy lady kid baby toddler player skier surfer rider crowd pedestrian
bicycle: bike
car: automobile sedan van minivan taxi cab suv
motorcycle: motorbike moped scooter
airplane: plane aeroplane jet aircraft
bus: minibus
train: locomotive tram
truck: lorry pickup
boat: ship canoe ferry kayak sailboat yacht
traffic light: stoplight
fire hydrant: hydrant
stop sign:
parking meter:
bench:
bird: duck goose seagull parrot pigeon owl eagle geese
cat: kitten kitty
dog: puppy hound
horse: pony foal
sheep: lamb
cow: cattle bull calf ox
elephant:
bear: panda
zebra:
giraffe:
backpack: rucksack
umbrella: parasol
handbag: purse
tie: necktie bow tie
suitcase: luggage
frisbee:
skis: ski
snowboard:
sports ball: ball soccer ball football basketball tennis ball baseball
kite:
baseball bat:
baseball glove: mitt
skateboard:
surfboard:
tennis racket: racket racquet
bottle:
wine glass:
cup: mug
fork:
knife: knives
spoon:
bowl:
banana:
apple:
sandwich: burger hamburger sub
orange:
broccoli:
carrot:
hot dog: hotdog
pizza:
donut: doughnut
cake: cupcake
chair: stool armchair
couch: sofa
potted plant: houseplant
bed:
dining table: table desk
toilet:
tv: television screen monitor
laptop: notebook computer
mouse:
remote: remote control
keyboard:
cell phone: phone cellphone smartphone
microwave:
oven: stove
toaster:
sink:
refrigerator: fridge
book:
clock:
vase:
scissors:
teddy bear: teddy
hair drier: hair dryer
toothbrush:
`

/** Words for the things of COCO. Words of two that hold another thing ("hot dog", "toilet seat") win over it. */
export function openCocoVocabulary(): Vocabulary {
  const concepts = things
    .trim()
    .split('\n')
    .map((line): World['concepts'][number] => {
      const [name = '', others = ''] = line.split(':')
      const words = splitWords(others)
      return {
        name,
        plural: pluralOf(name),
        category: 'coco',
        icon: name,
        synonyms: words.map((word) => ({ name: word, plural: pluralOf(word) })),
      }
    })
  return openVocabulary({ concepts }, [])
}

/** Synonyms of two words are listed here, since a line is split at spaces. */
const pairs = ['soccer ball', 'tennis ball', 'notebook computer', 'remote control', 'hair dryer', 'bow tie']

function splitWords(text: string): string[] {
  const found = pairs.filter((pair) => text.includes(pair))
  const rest = found.reduce((left, pair) => left.replace(pair, ''), text)
  return [...found, ...rest.split(' ').filter((word) => word !== '')]
}

function pluralOf(word: string): string {
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`
  return /(?:ch|sh|x|s|z)$/.test(word) ? `${word}es` : `${word}s`
}
