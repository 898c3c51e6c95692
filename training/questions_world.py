"""The small world of questions.py: sixteen kinds of things on a coarse grid, seen or told in words. Knows no model.

A scene can be shown as a picture, or told as a sentence before the question. The answers are the same, so a language
model that has only ever read the sentences already knows how to answer; what is left to learn is to see.
"""

import numpy as np
import torch

import turns
from drawings import Sprites
from language import CHOICES, EOS, TextBatch, Words, encode_conversation, free_choices
from scenes import draw, normalise, patch_owners, too_close
from world import BACKGROUNDS, CONCEPTS

SIZE, CELLS = 84, 12  # boxes end on a grid of twelve, so a coordinate is one of thirteen words
CELL = SIZE // CELLS
KINDS_OF_THING = range(0, 64, 4)
CHAT, GROUNDING = ("caption", "where"), ("ground",)
KINDS = CHAT + GROUNDING
TOLD = 99  # the number of the turn that all other turns may see: the scene in words


def small_scene(rng, low: int = 2, high: int = 3):
    """Different things, none over another, drawn in one style."""
    objects = []
    for concept in rng.choice(KINDS_OF_THING, int(rng.integers(low, high + 1)), replace=False):
        for _ in range(9):
            w, h = rng.integers(3, 6, 2)
            x, y = rng.integers(CELLS - w + 1), rng.integers(CELLS - h + 1)
            box = tuple(int(v) * CELL for v in (x, y, x + w, y + h))
            if not any(too_close(box, o["box"]) for o in objects):
                objects.append({"concept": int(concept), "style": 0, "variant": 0, "recolour": False, "box": box, "flip": bool(rng.random() < 0.5)})
                break
    return {"size": SIZE, "objects": objects, "background": int(rng.integers(len(BACKGROUNDS))), "pattern": 0}


def pictures(rng, sprites: Sprites, scenes) -> torch.Tensor:
    return torch.from_numpy(normalise(np.stack([draw(rng, sprites, scene)[0] for scene in scenes])))


def labelled_patches(rng, sprites: Sprites, count: int, grid: int):
    """Pixels, and for every patch its kind of thing (16 = none, -1 = too little to tell) and its four edges in cells."""
    pixels, kinds, edges = [], [], []
    for _ in range(count):
        scene = small_scene(rng, 3, 5)
        image, owner = draw(rng, sprites, scene)
        who, _ = patch_owners(owner, scene["objects"], grid)
        table = np.array([[KINDS_OF_THING.index(o["concept"]), *(v // CELL for v in o["box"])] for o in scene["objects"]])
        mine = table[who.clip(min=0)]
        kinds.append(np.where(who >= 0, mine[:, 0], np.where(who == -1, len(KINDS_OF_THING), -1)))
        edges.append(np.where(who[:, None] >= 0, mine[:, 1:], -1))
        pixels.append(image)
    return torch.from_numpy(normalise(np.stack(pixels))), torch.from_numpy(np.stack(kinds)), torch.from_numpy(np.stack(edges))


def in_words(rng, scene) -> str:
    """Everything the picture would show, in any order."""
    parts = [f"{placed(o)} {turns.box_text([o['box']], SIZE)}" for o in scene["objects"]]
    return "There is " + turns.join(turns.shuffled(rng, parts)) + "."


def a_name(item) -> str:
    return turns.article(CONCEPTS[item["concept"]]["name"])


def placed(item) -> str:
    return f"{a_name(item)} {turns.place(item['box'], SIZE)}"


def talk(rng, scene, kind: str) -> tuple[str, str]:
    """One question with its answer. An answer names its thing first, so that what follows can be found by that name;
    without it the base, too, stayed at naming any thing of the scene."""
    thing = turns.choose(rng, scene["objects"])
    name = CONCEPTS[thing["concept"]]["name"]
    if kind == "caption":
        return "Describe the image.", turns.sentence(turns.join(turns.shuffled(rng, [a_name(o) for o in scene["objects"]])))
    if kind == "where":
        return f"Where is the {name}?", turns.sentence(placed(thing))
    return f"Find the {name} and give its box.", turns.sentence(f"{placed(thing)} {turns.box_text([thing['box']], SIZE)}")


def answer_words(words: Words) -> torch.Tensor:
    """The ids that answers are made of, about ninety: the loss is over these, as no other word is ever said."""
    said = {EOS}
    for concept in KINDS_OF_THING:
        for at in range(CELLS + 1):
            box = tuple(min(SIZE, CELL * (at + n)) for n in (0, 0, 3, 3))
            thing = {"concept": concept, "box": box}
            for place in sum(turns.PLACES, []):
                text = turns.sentence(turns.join([f"{a_name(thing)} {place} {turns.box_text([box], SIZE)}", *[a_name(thing)] * 2]))
                said.update(words.encode("Answer: " + text) + words.encode("Answer: " + text[0].lower() + text[1:]))
    return torch.tensor(sorted(said))


def talk_batch(rng, words: Words, scenes, kinds=KINDS, *, talks: int = 4, told: bool = False) -> TextBatch:
    """Several questions a scene, side by side and blind to each other; `told` puts the scene in words before them."""
    table = []
    for scene in scenes:
        prefix = words.encode(in_words(rng, scene)) if told else []
        first = 1 + len(prefix) if told else 4
        row = [(i, -1, -1, 1 + at, TOLD, *[-1] * CHOICES) for at, i in enumerate(prefix)]
        for n in range(talks):
            kind = turns.choose(rng, kinds)
            ids, targets = encode_conversation(words, [talk(rng, scene, kind)])
            choices = free_choices(words, scene, ids, targets) if kind == "caption" else [[t] for t in targets]
            padded = [(c + [-1] * CHOICES)[:CHOICES] for c in choices]
            row += [(i, t, KINDS.index(kind), first + at, n, *c) for at, (i, t, c) in enumerate(zip(ids, targets, padded))]
        table.append(row)
    longest = max(map(len, table))
    nothing = (0, -1, -1, 4, -1, *[-1] * CHOICES)
    whole = torch.tensor([row + [nothing] * (longest - len(row)) for row in table])
    return TextBatch(*whole[..., :5].unbind(-1), whole[..., 5:])
