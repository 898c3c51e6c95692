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
    more to train with: pictures/CONCEPT/*.png and sketches/*.ndjson.gz; with `others` what emoji.ts wrote, and the other sketches.
    """

    def __init__(self, folder: str, variants: int = 0, others: bool = False):
        about = json.loads((Path(folder) / "sprites.json").read_text())
        raw = read_raw(Path(folder) / "sprites.rgba", about["sizePx"]).reshape(len(about["styles"]), len(about["concepts"]), *[about["sizePx"]] * 2, 4)
        self.images = [[[crop(icon)] if icon.any() else [] for icon in style] for style in raw]
        # After the styles that draw everything come those that draw a part, for training only.
        partial = range(TRAINED + HELD_OUT, len(self.images))
        # Most sets are pictograms in black; those that draw in colour, or nearly everything, are chosen four times as often.
        drawn = lambda s: sum(map(bool, self.images[s])) / len(CONCEPTS)
        often = [s for s in partial for _ in range(4 if drawn(s) > 0.9 or is_coloured(raw[s]) else 1)]
        self.elsewhere = [[s for s in often if self.images[s][c]] for c in range(len(CONCEPTS))]
        manners, made = make_once(Path(folder), f"variants-{variants}", make_more, self.images, variants) if variants else ([], [])
        for manner in manners:
            self.add_manner(manner)
        self.originals = [[len(drawings) for drawings in style] for style in self.images]
        varied = to_vary(self.images, variants) if variants else []
        for (drawings, _), more in zip(varied, made, strict=True):
            drawings += more
        self.others: list[list[Image.Image]] = make_once(Path(folder), "others", make_others) if others else []  # by kind

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


def make_once(folder: Path, name: str, make, *args):
    """What takes minutes to make is kept beside the icons."""
    kept = folder / f"{name}.pickle"
    if not kept.exists():
        with multiprocessing.Pool() as pool:
            made = make(pool, folder, *args)
        kept.with_suffix(f".{os.getpid()}").write_bytes(pickle.dumps(made))
        kept.with_suffix(f".{os.getpid()}").rename(kept)
    return pickle.loads(kept.read_bytes())


def make_more(pool, folder: Path, icons: list[list[list[Image.Image]]], variants: int) -> tuple[list, list]:
    """More manners, [manner][concept], and the variants of each entry of `to_vary`."""
    sketched = sketches.draw_all(pool, folder / "sketches", of_concepts=True)
    of_concepts = [sketched.get(sketches.CATEGORIES.get(c["name"], ""), []) for c in CONCEPTS]
    manners = [m for m in (read_pictures(folder / "pictures"), of_concepts) if any(m)]
    return manners, make_variants(pool, to_vary([*icons, *manners], variants))


def make_others(pool, folder: Path) -> list[list[Image.Image]]:
    others = read_others(folder, sketches.draw_all(pool, folder / "sketches", of_concepts=False))
    made = make_variants(pool, [(drawings, 1) for drawings in others])
    return [drawings + more for drawings, more in zip(others, made, strict=True)]


def to_vary(images: list[list[list[Image.Image]]], variants: int) -> list[tuple[list[Image.Image], int]]:
    """Drawings of one concept in one style, and how many variants each of them gets: where there are several, one."""
    trained = [style for n, style in enumerate(images) if n not in range(TRAINED, TRAINED + HELD_OUT)]
    return [(drawings, variants if len(drawings) == 1 else 1) for style in trained for drawings in style if drawings]


def make_variants(pool, drawings: list[tuple[list[Image.Image], int]]) -> list[list[Image.Image]]:
    return pool.starmap(vary, [(n, *task) for n, task in enumerate(drawings)], chunksize=8)


def vary(seed: int, drawings: list[Image.Image], of_each: int) -> list[Image.Image]:
    rng = np.random.default_rng([of_each, seed])
    return [styles.variant(rng, icon) for icon in drawings for _ in range(of_each)]


def read_pictures(folder: Path) -> list[list[Image.Image]]:
    """Cut-out drawings and photographs of each concept, FOLDER/CONCEPT/*."""
    files = [sorted((folder / c["name"]).glob("*.*")) for c in CONCEPTS]
    return [[crop(np.array(Image.open(file).convert("RGBA"))) for file in of_concept] for of_concept in files]


def read_others(folder: Path, sketched: dict[str, list[Image.Image]]) -> list[list[Image.Image]]:
    """By kind, of kinds that no scene is asked about: emoji, sketches of the same thing, and what there are only sketches of."""
    left, others = {sketches.plain(name): drawings for name, drawings in sketched.items()}, []
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
