"""What people drew in seconds when asked for a thing: 100 sketches each of 345 things, 28 pixels a side. Knows pixels, not scenes."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import styles

ABOUT = json.loads((Path(__file__).parent / "icons/sketches.json").read_text())
LARGE = 96


def draw_all(pool, folder: Path, *, of_concepts: bool) -> dict[str, list[Image.Image]]:
    """By category: those that show a concept, or all others that show a thing; none where `folder` is not there."""
    files = [f for f in sorted(folder.glob("*.ndjson.gz")) if category(f) not in ABOUT["leftOut"]]
    wanted = [(n, file) for n, file in enumerate(files) if (category(file) in CATEGORIES.values()) == of_concepts]
    made = pool.starmap(draw_category, wanted, chunksize=4)
    return {category(file): drawings for (_, file), drawings in zip(wanted, made, strict=True)}


def category(file: Path) -> str:
    return file.name.removesuffix(".ndjson.gz")


def draw_category(seed: int, file: Path) -> list[Image.Image]:
    rng = np.random.default_rng([4, seed])
    with gzip.open(file, "rt") as lines:
        return [draw(rng, np.array(json.loads(line), np.float32).reshape(28, 28)) for line in lines]


def draw(rng, ink: np.ndarray) -> Image.Image:
    """[28, 28], how much ink there is, 0 to 1 -> larger and smoother, premultiplied and cropped; three of four are filled, as far as their lines are closed."""
    small = Image.fromarray((np.pad(ink, 1).clip(0, 1) * 255).astype(np.uint8))
    large = small.resize((LARGE, LARGE), Image.BICUBIC).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.8, 1.6))))
    alpha = ((np.asarray(large, np.float32) - rng.uniform(50, 95)) / 60).clip(0, 1)[..., None]
    icon = styles.joined(alpha * rng.uniform(0, 60, 3), alpha)
    return styles.crop(styles.filled(rng, icon) if rng.random() < 0.75 else icon)


def plain(name: str) -> str:
    """As emoji.ts writes names."""
    return re.sub("[^a-z0-9]", "", name.lower())


_PAIRS = (item.partition("=") for item in ABOUT["draws"].split())
CATEGORIES = {name: (category or name).replace("_", " ") for name, _, category in _PAIRS}  # of the concepts that there are sketches of
