"""Everything that a scene can be made of: icons, pictures, sketches, variants of them all, and other kinds of things. Knows no scenes."""

import json
import multiprocessing
import os
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

import sketches
import styles
from world import CONCEPTS, HELD_OUT, TRAINED

MANY = 8  # from so many drawings of a concept on, a manner has its whole share
EACH = 40  # sketches of a kind that no scene is asked about


class Sprites:
    """Drawings, each cropped to what is visible, premultiplied for clean resizing.

    `folder` holds what sprites.ts wrote. With `variants`, how many of each icon, and where `folder` has them, there are
    more to train with: pictures/CONCEPT/*.png, sketches/*.ndjson.gz and what emoji.ts wrote.
    """

    def __init__(self, folder: str, variants: int = 0):
        about = json.loads((Path(folder) / "sprites.json").read_text())
        raw = read_raw(Path(folder) / "sprites.rgba", about["sizePx"]).reshape(len(about["styles"]), len(about["concepts"]), *[about["sizePx"]] * 2, 4)
        self.images = [[[crop(icon)] if icon.any() else [] for icon in style] for style in raw]
        # After the styles that draw everything come those that draw a part, for training only.
        partial = range(TRAINED + HELD_OUT, len(self.images))
        # Most sets are pictograms in black; those that draw in colour, or nearly everything, are chosen four times as often.
        drawn = lambda s: sum(map(bool, self.images[s])) / len(CONCEPTS)
        often = [s for s in partial for _ in range(4 if drawn(s) > 0.9 or is_coloured(raw[s]) else 1)]
        self.elsewhere = [[s for s in often if self.images[s][c]] for c in range(len(CONCEPTS))]
        self.others: list[list[Image.Image]] = []  # by kind
        more = make_once(Path(folder), variants, self.images) if variants else {"manners": [], "others": []}
        for manner in more["manners"]:
            self.add_manner(manner)
        self.originals = [[len(drawings) for drawings in style] for style in self.images]
        if variants:
            made = iter(more["variants"])
            for drawings, of_each in to_vary(self.images, variants):
                drawings += islice(made, of_each * len(drawings))
        self.others = more["others"]

    def add_manner(self, drawings: list[list[Image.Image]]) -> None:
        """One that may have many drawings of a concept; then it is a fifth of what is seen beside the main sets."""
        self.images.append(drawings)
        for options, drawn in zip(self.elsewhere, drawings, strict=True):
            share = min(1, len(drawn) / MANY) if drawn else 0
            options += [len(self.images) - 1] * round(share * max(1, len(options) // 4))

    def of_kind(self, style: int, concept: int) -> list[Image.Image]:
        """The drawings of a concept in a style; from len(CONCEPTS) on, of another kind, which has no style."""
        return self.images[style][concept] if concept < len(CONCEPTS) else self.others[concept - len(CONCEPTS)]

    def aspect(self, style: int, concept: int, variant: int = 0) -> float:
        image = self.of_kind(style, concept)[variant]
        return image.width / image.height


def make_once(folder: Path, variants: int, icons: list[list[list[Image.Image]]]) -> dict[str, list]:
    """What takes minutes to make is kept beside the icons."""
    kept = folder / f"variants-{variants}.pickle"
    if not kept.exists():
        with multiprocessing.Pool() as pool:
            made = make_more(pool, folder, variants, icons)
        kept.with_suffix(f".{os.getpid()}").write_bytes(pickle.dumps(made))
        kept.with_suffix(f".{os.getpid()}").rename(kept)
    return pickle.loads(kept.read_bytes())


def make_more(pool, folder: Path, variants: int, icons: list[list[list[Image.Image]]]) -> dict[str, list]:
    sketched = sketches.draw_all(pool, folder / "sketches")
    of_concepts = [sketched.pop(sketches.plain(sketches.CATEGORIES.get(c["name"], "")), []) for c in CONCEPTS]
    manners = [m for m in (read_pictures(folder / "pictures"), of_concepts) if any(m)]
    varied = [(d, of_each) for drawings, of_each in to_vary([*icons, *manners], variants) for d in drawings]
    others = read_others(folder, sketched)
    made = make_variants(pool, [*varied, *((d, 1) for drawings in others for d in drawings)])
    variants_of_others = iter(made[sum(of_each for _, of_each in varied) :])
    return {
        "manners": manners,
        "variants": made[: sum(of_each for _, of_each in varied)],
        "others": [drawings + list(islice(variants_of_others, len(drawings))) for drawings in others],
    }


def to_vary(images: list[list[list[Image.Image]]], variants: int) -> list[tuple[list[Image.Image], int]]:
    """Drawings of one concept in one style, and how many variants each of them gets: where there are several, one."""
    trained = [style for n, style in enumerate(images) if n not in range(TRAINED, TRAINED + HELD_OUT)]
    return [(drawings, variants if len(drawings) == 1 else 1) for style in trained for drawings in style if drawings]


def make_variants(pool, drawings: list[tuple[Image.Image, int]]) -> list[Image.Image]:
    made = pool.starmap(vary, [(n, *task) for n, task in enumerate(drawings)], chunksize=32)
    return [variant for of_one in made for variant in of_one]


def vary(seed: int, icon: Image.Image, count: int) -> list[Image.Image]:
    rng = np.random.default_rng([count, seed])
    return [styles.variant(rng, icon) for _ in range(count)]


def read_pictures(folder: Path) -> list[list[Image.Image]]:
    """Cut-out drawings and photographs of each concept, FOLDER/CONCEPT/*."""
    files = [sorted((folder / c["name"]).glob("*.*")) for c in CONCEPTS]
    return [[crop(np.array(Image.open(file).convert("RGBA"))) for file in of_concept] for of_concept in files]


def read_others(folder: Path, sketched: dict[str, list[Image.Image]]) -> list[list[Image.Image]]:
    """By kind, of kinds that no scene is asked about: emoji, sketches of the same thing, and what there are only sketches of."""
    left, others = dict(sketched), []
    if (folder / "emoji.json").exists():
        about = json.loads((folder / "emoji.json").read_text())
        icons = iter(read_raw(folder / "emoji.rgba", about["sizePx"]))
        for kind in about["kinds"]:
            own = [crop(icon) for icon in islice(icons, len(kind["styles"]))]
            others.append(own + left.pop(kind["name"], [])[:EACH])
    return others + [drawings[:EACH] for _, drawings in sorted(left.items())]


def read_raw(file: Path, size: int) -> np.ndarray:
    return np.memmap(file, np.uint8, "r").reshape(-1, size, size, 4)


def is_coloured(icons: np.ndarray) -> bool:
    seen = icons[icons[..., 3] > 128][:, :3]
    return bool((seen.max(-1) - seen.min(-1)).mean() > 30)


def crop(icon: np.ndarray) -> Image.Image:
    return styles.crop(Image.fromarray(np.array(icon), "RGBA").convert("RGBa"))
