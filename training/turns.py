"""Questions and answers about a scene, from its description alone. Knows words, not pixels.

Kinds of objects are listed in any order, but those with more things first: the decoder then only has to know what is
left to tell. (One fixed order was tried first; it has to be learnt by heart, pair by pair.) Boxes of one kind go from left to right.
"""

from world import BACKGROUNDS, CONCEPTS, PATTERNS

NUMBERS = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"]
PLACES = [
    ["in the top left", "at the top", "in the top right"],
    ["on the left", "in the centre", "on the right"],
    ["in the bottom left", "at the bottom", "in the bottom right"],
]

CAPTION = ["Describe the image.", "What is in the image?", "What do you see?", "Describe this picture.",
           "Write a short caption.", "Write a caption for this image.", "What does the picture show?",
           "List the objects in the image.", "Describe the image in one sentence."]
DETAILED = ["Describe the image in detail.", "Describe this picture in detail.", "Write a detailed caption.",
            "Give a detailed description of the image.", "Describe the image in detail, with colours and positions."]
GROUNDED = ["Describe the image with boxes.", "Describe the image and give the boxes.",
            "Describe this picture with coordinates.", "Write a caption with boxes.",
            "List the objects in the image with their boxes.", "What is in the image? Give the boxes.",
            "Describe the image and give the coordinates of each object.",
            "Describe the image with the coordinates [[x0,y0,x1,y1]] of each object.", "Find all objects and give their boxes."]
GROUND = ["Where is the {}? Give its box.", "Find the {} and give its box.", "Find the {}. Give its coordinates.",
          "Give the box of the {}.", "Give the coordinates of the {}.", "Where is the {}? Answer with a box.",
          "Where is the {}? Answer with coordinates.", "Locate the {}. Answer in [[x0,y0,x1,y1]] format.",
          "Detect the {}.", "Where is the {}? Answer in [[x0,y0,x1,y1]] format."]
GROUND_ALL = ["Where are the {}? Give their boxes.", "Find all {} and give their boxes.", "Give the boxes of all {}.",
              "Find the {} and give the boxes.", "Detect all {}.", "Where are the {}? Give their coordinates."]
WHERE = ["Where is the {}?", "In which part of the image is the {}?", "Where in the image is the {}?"]
WHERE_ALL = ["Where are the {}?", "Where in the image are the {}?"]
NAME = ["What is at {}?", "What is in the box {}?", "Name the object at {}.", "Which object is at {}?", "What does the box {} show?"]
COUNT = ["How many {} are there?", "How many {} are in the image?", "How many {} do you see?", "Count the {}."]
COUNT_ALL = ["How many objects are there?", "How many objects are in the image?", "Count the objects."]
EXISTS = ["Is there {a} in the image?", "Is there {a}?", "Do you see {a}?", "Does the image show {a}?", "Is {a} in the picture?"]
EXISTS_MANY = ["Are there {} in the image?", "Are there any {}?", "Do you see any {}?"]
COLOUR = ["What colour is the {}?", "Which colour is the {}?", "What is the colour of the {}?"]
GROUND_COLOUR = ["What colour is the background?", "Which colour is the background?", "What is the background colour?"]


def article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def box_text(boxes, size: int) -> str:
    number = lambda v: f"{min(999, v * 1000 // size):03d}"
    return "[[" + ";".join(",".join(number(v) for v in box) for box in boxes) + "]]"


def place(box, size: int) -> str:
    x, y = (box[0] + box[2]) / 2 / size, (box[1] + box[3]) / 2 / size
    return PLACES[min(2, int(y * 3))][min(2, int(x * 3))]


def places(boxes, size: int) -> str:
    return join(list(dict.fromkeys(place(b, size) for b in boxes)))


def groups(scene) -> list[tuple[dict, list]]:
    """[(concept, its boxes from left to right)]."""
    ordered = sorted(scene["objects"], key=lambda o: (o["concept"], o["box"][:2]))
    out: list[tuple[dict, list]] = []
    for o in ordered:
        concept = CONCEPTS[o["concept"]]
        if not out or out[-1][0] is not concept:
            out.append((concept, []))
        out[-1][1].append(o["box"])
    return out


def numbers(scene) -> list[tuple[int, int]]:
    """Of each object: how many of its kind there are, and which of them it is, from left to right."""
    alike = lambda o: sorted(p["box"][:2] for p in scene["objects"] if p["concept"] == o["concept"])
    return [(len(alike(o)), 1 + alike(o).index(o["box"][:2])) for o in scene["objects"]]


def phrase(concept, count: int) -> str:
    return article(concept["name"]) if count == 1 else f"{NUMBERS[count].lower()} {concept['plural']}"


def spoken(rng, concept) -> dict:
    """The concept's name, now and then a synonym (questions only)."""
    options = concept.get("synonyms", [])
    return options[rng.integers(len(options))] if options and rng.random() < 0.25 else concept


def absent_concept(rng, scene) -> dict:
    """Half of the time one that resembles something in the scene."""
    there = {o["concept"] for o in scene["objects"]}
    rest = [i for i in range(len(CONCEPTS)) if i not in there]
    if there and rng.random() < 0.5:
        category = CONCEPTS[list(there)[rng.integers(len(there))]]["category"]
        rest = [i for i in rest if CONCEPTS[i]["category"] == category] or rest
    return CONCEPTS[rest[rng.integers(len(rest))]]


def choose(rng, options):
    return options[rng.integers(len(options))]


def ask(rng, templates):
    """A way of asking; the first three, which are short, more often."""
    return choose(rng, templates[:3] if rng.random() < 0.6 else templates)


def listing(scene) -> list[tuple[str, str, int]]:
    """The phrases a caption is made of, as (first word, noun, how many): any order of those with as many is right."""
    return [(*phrase(c, len(b)).split(), len(b)) for c, b in groups(scene)]


def shuffled(rng, items: list) -> list:
    return [items[i] for i in rng.permutation(len(items))]


def most_first(rng, kinds: list) -> list:
    """What there is most of comes first: it is what a look at everything at once finds first."""
    return sorted(shuffled(rng, kinds), key=lambda kind: -len(kind[1]))


def caption(rng, scene):
    return ask(rng, CAPTION), sentence(join([phrase(c, len(b)) for c, b in most_first(rng, groups(scene))]))


def detailed(rng, scene):
    parts = []
    for concept, boxes in most_first(rng, groups(scene)):
        colour = concept["colour"] + " " if "colour" in concept else ""
        coloured = {"name": colour + concept["name"], "plural": colour + concept["plural"]}
        parts.append(f"{phrase(coloured, len(boxes))} {places(boxes, scene['size'])}")
    colour, pattern = BACKGROUNDS[scene["background"]]["name"], PATTERNS[scene["pattern"]]
    return ask(rng, DETAILED), sentence(join(parts)) + f" The background is {colour} and {pattern}."


def grounded(rng, scene):
    parts = [f"{phrase(c, len(b))} {box_text(b, scene['size'])}" for c, b in most_first(rng, groups(scene))]
    return ask(rng, GROUNDED), sentence(join(parts))


def subject(rng, scene, absent: float):
    """(concept as spoken, its boxes)."""
    if rng.random() < absent:
        return spoken(rng, absent_concept(rng, scene)), []
    concept, boxes = choose(rng, groups(scene))
    return spoken(rng, concept), boxes


def about_place(rng, scene, one, many, answer):
    name, boxes = subject(rng, scene, 0.1)
    plural = len(boxes) > 1 and rng.random() < 0.7 or rng.random() < 0.1
    question = ask(rng, many if plural else one).format(name["plural" if plural else "name"])
    if not boxes:
        return question, f"There are no {name['plural']}." if plural else f"There is no {name['name']}."
    return question, answer(boxes)


def ground(rng, scene):
    return about_place(rng, scene, GROUND, GROUND_ALL, lambda boxes: box_text(boxes, scene["size"]))


def where(rng, scene):
    return about_place(rng, scene, WHERE, WHERE_ALL, lambda boxes: sentence(places(boxes, scene["size"])))


def name(rng, scene):
    target = choose(rng, scene["objects"])
    size = scene["size"]
    near = [min(size - 1, max(0, v + int(rng.integers(-2, 3)))) for v in target["box"]]
    return ask(rng, NAME).format(box_text([near], size)), sentence(article(CONCEPTS[target["concept"]]["name"]))


def count(rng, scene):
    if rng.random() < 0.2:
        return ask(rng, COUNT_ALL), NUMBERS[len(scene["objects"])] + "."
    name, boxes = subject(rng, scene, 0.2)
    return ask(rng, COUNT).format(name["plural"]), NUMBERS[len(boxes)] + "."


def exists(rng, scene):
    name, boxes = subject(rng, scene, 0.5)
    many = rng.random() < 0.25
    question = ask(rng, EXISTS_MANY).format(name["plural"]) if many else ask(rng, EXISTS).format(a=article(name["name"]))
    return question, "Yes." if boxes else "No."


def colour(rng, scene):
    known = [c for c, _ in groups(scene) if "colour" in c]
    if not known or rng.random() < 0.3:
        return ask(rng, GROUND_COLOUR), BACKGROUNDS[scene["background"]]["name"].capitalize() + "."
    concept = choose(rng, known)
    return ask(rng, COLOUR).format(spoken(rng, concept)["name"]), concept["colour"].capitalize() + "."


KINDS = {"caption": caption, "detailed": detailed, "grounded": grounded, "ground": ground, "where": where,
         "name": name, "count": count, "exists": exists, "colour": colour}
MIX = {"caption": 8, "detailed": 1, "grounded": 5, "ground": 3, "where": 2, "name": 3, "count": 4, "exists": 2, "colour": 1}
TELLING_MIX = {"caption": 10, "detailed": 1, "grounded": 6, "ground": 2, "where": 2, "name": 3, "count": 3, "exists": 1, "colour": 1}
BINDING_MIX = {"grounded": 2, "ground": 3, "where": 1, "name": 3, "exists": 1, "caption": 1}


def conversation(rng, scene, mix=MIX) -> tuple[list[tuple[str, str]], list[str]]:
    """One to three questions with their answers, mostly one; and the kinds of question."""
    kinds, weights = list(mix), list(mix.values())
    turns = 1 if rng.random() < 0.9 else int(rng.integers(2, 4))
    total = sum(weights)
    picked = [kinds[k] for k in rng.choice(len(kinds), turns, p=[w / total for w in weights])]
    return [KINDS[kind](rng, scene) for kind in picked], picked


def prompt(turns: list[tuple[str, str]], question: str) -> str:
    """CogVLM's chat template."""
    return "".join(f"Question: {q} Answer: {a}\n" for q, a in turns) + f"Question: {question} Answer:"


def vocabulary() -> list[str]:
    """Every word the templates can produce."""
    import re

    texts = [t for group in (CAPTION, DETAILED, GROUNDED, GROUND, GROUND_ALL, WHERE, WHERE_ALL, NAME, COUNT, COUNT_ALL,
                             EXISTS, EXISTS_MANY, COLOUR, GROUND_COLOUR, sum(PLACES, []), NUMBERS, PATTERNS) for t in group]
    texts += [place.capitalize() for row in PLACES for place in row] + [n.lower() for n in NUMBERS]
    for b in BACKGROUNDS:
        texts += [b["name"], b["name"].capitalize()]
    for c in CONCEPTS:
        texts += [c["name"], c["plural"], *(w for s in c.get("synonyms", []) for w in (s["name"], s["plural"]))]
    texts += ["Question Answer Yes No There is no are A An a an and The background"]
    return list(dict.fromkeys(w for t in texts for w in re.findall(r"[A-Za-z]+", re.sub(r"x0|y0|x1|y1|\{a?\}", " ", t))))
