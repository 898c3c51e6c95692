"""Free-running greedy answers on fresh scenes, counted by the number of objects.

    python evaluate.py ../models/scenes-v2 --sprites DIR [--scenes 50] [--held-out] [--json FILE]
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

import checkpoint
import turns
from drawings import Sprites
from generate import answer
from scenes import PLAIN, Drawing, draw, normalise, sample_scene
from world import CONCEPTS, TRAINED

BY_WORD = {w: i for i, c in enumerate(CONCEPTS) for w in (c["name"], c["plural"])}
COUNTS = {n.lower(): i for i, n in enumerate(turns.NUMBERS)} | {"a": 1, "an": 1}
BOX = re.compile(r"\[\[([\d,;]*)\]\]")


def read_objects(text: str) -> list[tuple[int, int, list]]:
    """A caption -> [(concept, how many, boxes)]."""
    found = []
    for match in re.finditer(r"(?:(\w+) )?(\w+)(?: (\[\[[\d,;]*\]\]))?", text.lower()):
        many, word, boxes = match.groups()
        if word in BY_WORD:
            found.append((BY_WORD[word], COUNTS.get(many or "", 1), read_boxes(boxes or "")))
    return found


def read_boxes(text: str) -> list[tuple[float, ...]]:
    inside = ";".join(BOX.findall(text))
    boxes = [tuple(int(v) / 1000 for v in part.split(",") if v) for part in inside.split(";")]
    return [b for b in boxes if len(b) == 4]


def iou(a, b) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])
    return w * h / (area(a) + area(b) - w * h)


def questions(rng, scene):
    """(metric, question, truth) of one scene."""
    size = scene["size"]
    concept, boxes = turns.choose(rng, turns.groups(scene))
    absent = turns.absent_concept(rng, scene)
    one = turns.choose(rng, scene["objects"])
    unit = [tuple(v / size for v in b) for b in boxes]
    named = turns.box_text([one["box"]], size)
    return [
        ("caption", turns.ask(rng, turns.CAPTION), None),
        ("grounded", turns.ask(rng, turns.GROUNDED), None),
        ("yes", turns.ask(rng, turns.EXISTS).format(a=turns.article(concept["name"])), "Yes."),
        ("no", turns.ask(rng, turns.EXISTS).format(a=turns.article(absent["name"])), "No."),
        ("ground", turns.ask(rng, turns.GROUND).format(concept["name"]), unit),
        ("name", turns.ask(rng, turns.NAME).format(named), turns.sentence(turns.article(CONCEPTS[one["concept"]]["name"]))),
        ("count", turns.ask(rng, turns.COUNT).format(concept["plural"]), turns.NUMBERS[len(boxes)] + "."),
        ("where", turns.ask(rng, turns.WHERE).format(concept["name"]),
         turns.sentence(turns.places(boxes, size))),
    ]  # fmt: skip


def score(metric, said, truth, scene, add) -> None:
    wants_box = metric in ("grounded", "ground")
    add("wrongKind", ("[[" in said) != wants_box)
    if metric in ("caption", "grounded"):
        there = [o["concept"] for o in scene["objects"]]
        told = read_objects(said)
        for concept in set(there):
            add(f"{metric}Recall", any(concept == t[0] for t in told))
        for concept, many, _ in told:
            add(f"{metric}Precision", concept in there)
            if metric == "caption" and concept in there:
                add("captionCount", there.count(concept) == many)
        if metric == "grounded":
            for o in scene["objects"]:
                box = tuple(v / scene["size"] for v in o["box"])
                add("groundedBox", any(t[0] == o["concept"] and any(iou(box, b) >= 0.5 for b in t[2]) for t in told))
    elif metric == "ground":
        boxes = read_boxes(said)
        for box in truth:
            add("ground", any(iou(box, b) >= 0.5 for b in boxes))
    else:
        add("yesNo" if metric in ("yes", "no") else metric, said == truth)


@torch.no_grad()
def evaluate(model, words, sprites, *, scenes: int, drawing, repeat=0.3, seed=99, show=0):
    table = {}
    for objects in range(1, 7):
        rng = np.random.default_rng([seed, objects])
        batch = [sample_scene(rng, sprites, model.config.image_size, objects, drawing=drawing, repeat=repeat) for _ in range(scenes)]
        sums = defaultdict(list)
        for at in range(0, scenes, 10):
            part = batch[at : at + 10]
            pixels = np.stack([draw(rng, sprites, s)[0] for s in part])
            features = model.model.vision(torch.from_numpy(normalise(pixels)))
            asked = [questions(rng, s) for s in part]
            said = answer(model, words, features, [[turns.prompt([], q) for _, q, _ in row] for row in asked])
            for scene, row, answers in zip(part, asked, said):
                for (metric, question, truth), text in zip(row, answers):
                    score(metric, text, truth, scene, lambda key, value: sums[key].append(float(value)))
                if show > 0:
                    show -= 1
                    print([CONCEPTS[o["concept"]]["name"] for o in scene["objects"]])
                    for (_, question, truth), text in zip(row, answers):
                        print(f"   {question}  ->  {text}   ({truth})")
        table[objects] = {key: round(float(np.mean(v)), 3) for key, v in sums.items()}
    return table


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--scenes", type=int, default=50, help="per number of objects")
    parser.add_argument("--held-out", action="store_true", help="the style never trained on")
    parser.add_argument("--repeat", type=float, default=0.3, help="how often a new object is of a kind that is there already")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, words = checkpoint.load(Path(args.checkpoint))
    sprites = Sprites(args.sprites)
    drawing = Drawing(styles=[TRAINED]) if args.held_out else PLAIN
    table = evaluate(model, words, sprites, scenes=args.scenes, drawing=drawing, repeat=args.repeat, show=args.show)
    keys = list(table[1])
    print("objects " + " ".join(f"{k:>17}" for k in keys))
    for n, row in table.items():
        print(f"{n:7} " + " ".join(f"{row[k]:17.3f}" for k in keys))
    print("   mean " + " ".join(f"{np.mean([row[k] for row in table.values()]):17.3f}" for k in keys))
    if args.json:
        Path(args.json).write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
