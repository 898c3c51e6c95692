"""Scenes: icons on a background, as a description and as pixels. Knows no words.

A scene is a plain dict, so that the language stage can invent thousands without drawing one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

import styles
from drawings import Sprites
from world import BACKGROUNDS, CONCEPTS, PATTERNS, TRAINED, WORLD

PATCH = 14
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass
class Drawing:
    """How scenes are drawn: which icon sets, and how often otherwise."""

    styles: Sequence[int] = range(TRAINED)
    elsewhere: float = 0.0  # how often by a set that does not draw everything
    vary: float = 0.0  # how often turned or in another manner, and how often in other colours
    others: float = 0.0  # how often a thing of another kind, which no scene is asked about


PLAIN = Drawing()
VARIED = Drawing(elsewhere=0.25, vary=0.35)


def sample_scene(rng, sprites: Sprites, size: int, count: int, *, drawing=PLAIN, longer=(0.1, 0.5), repeat=0.3):
    """`count` objects (fewer if they do not fit), boxes in whole pixels of a size x size canvas."""
    patch, squash = PATCH, math.exp(rng.uniform(-0.35, 0.35))
    objects, centres = [], set()
    for _ in range(count * 9):
        if len(objects) == count:
            break
        again = objects and rng.random() < repeat
        concept = objects[rng.integers(len(objects))]["concept"] if again else choose_kind(rng, sprites, drawing)
        if any(is_held_out(concept, other["concept"]) for other in objects):
            continue
        look = choose_look(rng, sprites, concept, drawing)
        long = size * rng.uniform(*longer)
        aspect = sprites.aspect(look["style"], concept, look["variant"]) * squash
        w, h = (long, long / aspect) if aspect > 1 else (long * aspect, long)
        w, h = max(6, round(w)), max(6, round(h))
        if w > size or h > size:
            continue
        x, y = int(rng.integers(size - w + 1)), int(rng.integers(size - h + 1))
        box = (x, y, x + w, y + h)
        centre = (int((x + w / 2) // patch), int((y + h / 2) // patch))
        if centre in centres or any(too_close(box, other["box"]) for other in objects):
            continue
        centres.add(centre)
        objects.append({"concept": concept, **look, "box": box, "flip": bool(rng.random() < 0.5)})
    background = int(rng.integers(len(BACKGROUNDS)))
    return {"size": size, "objects": objects, "background": background, "pattern": int(rng.integers(len(PATTERNS)))}


def choose_kind(rng, sprites: Sprites, drawing: Drawing) -> int:
    """A concept or, counted on from them, another kind."""
    is_other = len(sprites.others) > 0 and rng.random() < drawing.others
    return len(CONCEPTS) + int(rng.integers(len(sprites.others))) if is_other else int(rng.integers(len(CONCEPTS)))


def choose_look(rng, sprites: Sprites, concept: int, drawing: Drawing):
    if concept >= len(CONCEPTS):
        variant = int(rng.integers(len(sprites.of_kind(-1, concept))))
        return {"style": -1, "variant": variant, "recolour": bool(rng.random() < drawing.vary)}
    elsewhere = sprites.elsewhere[concept]
    options = elsewhere if elsewhere and rng.random() < drawing.elsewhere else drawing.styles
    style = int(options[rng.integers(len(options))])
    varied = rng.random() < drawing.vary
    variant = int(rng.integers(len(sprites.of_kind(style, concept)) if varied else sprites.originals[style][concept]))
    return {"style": style, "variant": variant, "recolour": bool(rng.random() < drawing.vary)}


def is_held_out(a: int, b: int) -> bool:
    """Pairs of concepts that no training scene shows together, so that tests can ask about pairs never seen."""
    rule = WORLD["scene"]["heldOutPairs"]
    return a != b and max(a, b) < len(CONCEPTS) and (a + b) % rule["modulus"] == rule["remainder"]


def too_close(a, b) -> bool:
    """IoU above 0.2, or one hiding more than a quarter of the other."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return False
    area_a, area_b = ((r[2] - r[0]) * (r[3] - r[1]) for r in (a, b))
    return w * h > 0.2 * (area_a + area_b - w * h) or w * h > 0.25 * min(area_a, area_b)


def draw(rng, sprites: Sprites, scene) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [S, S, 3] uint8 and the index of the object each pixel belongs to (-1 = background)."""
    size = scene["size"]
    canvas = draw_background(rng, size, BACKGROUNDS[scene["background"]]["rgb"], PATTERNS[scene["pattern"]])
    owner = np.full((size, size), -1, np.int64)
    for index, item in enumerate(scene["objects"]):
        x0, y0, x1, y1 = item["box"]
        icon = sprites.of_kind(item["style"], item["concept"])[item["variant"]].resize((x1 - x0, y1 - y0), Image.BICUBIC)
        icon = np.asarray(icon)
        if item["recolour"]:
            icon = styles.recoloured(rng, icon.astype(np.float32))
        if item["flip"]:
            icon = icon[:, ::-1]
        alpha = icon[..., 3:].astype(np.float32) / 255
        region = canvas[y0:y1, x0:x1]
        region *= 1 - alpha
        region += icon[..., :3]
        owner[y0:y1, x0:x1][alpha[..., 0] > 0.4] = index
    canvas *= rng.uniform(0.85, 1.15, 3).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), owner


def draw_background(rng, size: int, rgb, pattern: str) -> np.ndarray:
    base = np.array(rgb, np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    canvas = np.broadcast_to(base, (size, size, 3)).copy()
    if pattern == "gradient":
        angle = rng.uniform(0, 2 * math.pi)
        ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
        canvas += (math.cos(angle) * xs + math.sin(angle) * ys)[..., None] * rng.uniform(60, 110)
    elif pattern == "noisy":
        cell = int(rng.integers(2, 9))
        cells = rng.normal(0, rng.uniform(9, 18), (size // cell + 1, size // cell + 1, 1)).astype(np.float32)
        canvas += cells.repeat(cell, 0).repeat(cell, 1)[:size, :size]
    elif pattern == "striped":
        period, angle = rng.uniform(10, 30), rng.choice([0, 0.25, 0.5, 0.75]) * math.pi
        ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
        wave = np.sin((math.cos(angle) * xs + math.sin(angle) * ys) * 2 * math.pi / period) > 0
        canvas += np.where(wave, 1, -1)[..., None].astype(np.float32) * rng.uniform(12, 22)
    return np.clip(canvas, 0, 255)


def normalise(pixels: np.ndarray) -> np.ndarray:
    """[..., S, S, 3] uint8 -> [..., 3, S, S] float, CLIP's mean and deviation."""
    return np.moveaxis((pixels.astype(np.float32) / 255 - MEAN) / STD, -1, -3)


def patch_owners(owner: np.ndarray, objects, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Per patch: its object (-1 = background, -2 = too little to tell), and whether it holds that object's centre."""
    size = len(owner)
    patch, n = size // grid, len(objects) + 1
    cell = np.arange(size) // patch
    index = (cell[:, None] * grid + cell[None, :]) * n + owner + 1
    share = np.bincount(index.ravel(), minlength=grid * grid * n).reshape(-1, n)[:, 1:] / patch**2
    owners = np.full(grid * grid, -1)
    if len(objects):
        best = share.max(1)
        owners = np.where(best >= 0.2, share.argmax(1), np.where(best >= 0.04, -2, -1))
    centre = np.zeros(grid * grid, bool)
    for i, item in enumerate(objects):
        x0, y0, x1, y1 = item["box"]
        at = int((y0 + y1) / 2 // patch) * grid + int((x0 + x1) / 2 // patch)
        owners[at], centre[at] = i, True
    return owners, centre
