// The eighty things of COCO and the words for them that CHAIR counts, so that its figures can be held against published
// ones. It does not know images.
import type { World } from '../../schemas/world.ts'
import { openVocabulary, type Vocabulary } from './vocabulary.ts'

/**
 * Name, then other words for it; plurals follow by rule. Behind the bar stand words that CHAIR's list lacks: they name
 * boxes, and count in no caption. The list before it is that of Rohrbach et al. 2018 (data/synonyms.txt, BSD 2-Clause) as
 * their script reads it: three entries are lost to a space or a capital there and stand behind the bar here.
 */
const things = `
person: adult, baby, baker, bicyclist, biker, boy, bride, buyer, caller, camper, chef, child, cop, cowboy, coworker, doctor, drinker, driver, father, female, foreigner, gentleman, girl, grandchild, groom, guy, hunter, kid, lady, male, man, mother, offender, officer, passenger, patient, people, pitcher, player, policeman, politician, rider, serviceman, shopper, sister, skateboarder, skater, skier, snowboarder, soldier, solider, student, teenager, thief, traveler, trespasser, villager, walker, woman, worker | crowd, pedestrian, surfer, toddler
bicycle: bike, minibike, trike, unicycle
car: automobile, cab, coupe, hatchback, jeep, limo, minivan, sedan, suv, taxi, taxicab, van
motorcycle: moped, motor cycle, motorbike, scooter | motor bike
airplane: air plane, airbus, aircraft, biplane, jet, jetliner, monoplane, passenger jet, plane, seaplane | aeroplane
bus: minibus, trolley
train: caboose, locomotive, passenger train, tramway | tram
truck: firetruck, hauler, lorry, pickup
boat: barge, battleship, canoe, catamaran, dinghy, ferry, ferryboat, freighter, houseboat, kayak, lifeboat, liner, motorboat, paddleboat, pontoon, powerboat, riverboat, rowboat, sailboard, sailboat, schooner, ship, skiff, speedboat, steamboat, steamship, trawler, tugboat, vessel, watercraft, yacht
traffic light: stop light, stoplight, street light, streetlight, traffic signal
fire hydrant: hydrant
stop sign:
parking meter:
bench: pew
bird: blackbird, bluebird, bluejay, buzzard, chickadee, cockatiel, cockatoo, condor, cormorant, cowbird, crow, egret, falcon, finch, flamingo, fowl, goose, gosling, gull, heron, hummingbird, kingfisher, loon, lorikeet, macaw, magpie, mallard, oriole, osprey, ostrich, owl, parakeet, parrot, peacock, peafowl, pelican, pheasant, pigeon, puffin, quail, raven, robin, rooster, sandpiper, seabird, seagull, shorebird, songbird, sparrow, swan, turkey, vulture, warbler, waterbird, waterfowl, willet, woodpecker | duck, eagle
cat: feline, kitten, tabby | kitty
dog: beagle, brindle, bulldog, canine, chihuahua, cocker, collie, corgi, dachshund, doberman, doggie, doggy, greyhound, hound, husky, labrador, mutt, pitbull, poodle, pug, pup, puppy, retriever, rottweiler, schnauzer, sheepdog, spaniel, terrier, weimaraner, whippet
horse: bronc, bronco, clydesdale, colt, equine, foal, mare, mustang, palomino, pony, racehorse, stallion
sheep: ewe, goat, lamb, ram
cow: bison, buffalo, bull, calf, cattle, heifer, holstein, ox, zebu
elephant:
bear: panda
zebra:
giraffe:
backpack: knapsack | rucksack
umbrella: | parasol
handbag: briefcase, purse, wallet
tie: bow, bow tie | necktie
suitcase: luggage, suit case
frisbee:
skis: ski
snowboard:
sports ball: ball | baseball, basketball, football
kite:
baseball bat:
baseball glove: | mitt
skateboard:
surfboard: longboard, shortboard, skimboard, wakeboard
tennis racket: racket | racquet, tennis racquet
bottle:
wine glass:
cup: | mug
fork:
knife: pocketknife
spoon:
bowl: container
banana:
apple:
sandwich: burger, cheeseburger, hamburger, sub
orange:
broccoli:
carrot:
hot dog: | hotdog
pizza:
donut: bagel, doughnut
cake: coffeecake, cupcake, pancake, shortcake | cheesecake
chair: seat, stool | armchair
couch: chesterfield, futon, loveseat, recliner, settee, sofa
potted plant: houseplant
bed:
dining table: desk, table
toilet: commode, lavatory, potty, urinal
tv: monitor, television | screen
laptop: computer, laptop computer, lenovo, macbook, netbook, notebook
mouse:
remote: | remote control
keyboard:
cell phone: cellphone, mobile phone, phone, smartphone, telephone | iphone
microwave:
oven: stove, stovetop
toaster:
sink:
refrigerator: freezer, fridge
book:
clock:
vase:
scissors:
teddy bear: teddybear | teddy
hair drier: hairdryer | hair dryer
toothbrush:
`

/** Young and grown ones of these are the animal itself, and no person beside it. */
const animals = ['bird', 'cat', 'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe']
const agesOf = (animal: string) => [`baby ${animal}`, `adult ${animal}`]

/** Words of two that hold a word for a thing and, in a caption, name none. */
const noThing = ['home plate', 'train track', 'motor bike', ...agesOf('animal'), ...agesOf('cub')]

/** The words that CHAIR counts; for `boxes` those and some more, which name what a box holds. */
export function openCocoVocabulary(use: 'captions' | 'boxes' = 'captions'): Vocabulary {
  const concepts = things
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', words = ''] = line.split(':')
      const [counted = [], more = []] = words
        .split('|')
        .map((part) => part.split(',').map((word) => word.trim()))
      const ages = animals.includes(name) ? agesOf(name) : []
      return conceptOf(name, [...counted, ...ages, ...(use === 'boxes' ? more : [])])
    })
  const vocabulary = openVocabulary({ concepts: [conceptOf('', noThing), ...concepts] }, [])
  return {
    nameOf: (word) => vocabulary.nameOf(word) || null,
    mentionsIn: (text) => vocabulary.mentionsIn(withoutSeats(text)).filter(({ name }) => name !== ''),
  }
}

/** The seat of a toilet is no chair, wherever in the caption it stands. */
function withoutSeats(text: string): string {
  return /\btoilets?\b/i.test(text) ? text.replaceAll(/\bseats?\b/gi, ' ') : text
}

function conceptOf(name: string, words: readonly string[]): World['concepts'][number] {
  const synonyms = words.filter((word) => word !== '').map((word) => ({ name: word, plural: pluralOf(word) }))
  return { name, plural: pluralOf(name), category: 'coco', icon: name, synonyms }
}

const irregular: ReadonlyMap<string, string> = new Map(
  Object.entries({
    man: 'men',
    woman: 'women',
    gentleman: 'gentlemen',
    policeman: 'policemen',
    serviceman: 'servicemen',
    child: 'children',
    grandchild: 'grandchildren',
    thief: 'thieves',
    goose: 'geese',
    calf: 'calves',
    ox: 'oxen',
    mouse: 'mice',
    knife: 'knives',
    pocketknife: 'pocketknives',
  }),
)

function pluralOf(word: string): string {
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`
  return irregular.get(word) ?? (/(?:ch|sh|x|s|z)$/.test(word) ? `${word}es` : `${word}s`)
}
