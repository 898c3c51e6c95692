"""Joins the averaged tower and decoder into the checkpoint that ships, and writes the goldens.

    python export.py --sprites DIR --state DIR --out ../models/scenes-v2 --goldens
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import checkpoint
from drawings import Sprites
from generate import answer_ids
from language import TOKENIZER, Words
from model import CogVLM, Config
from scenes import draw, normalise, sample_scene
from train_language import load_tower
from turns import article, prompt
from world import CONCEPTS

GOLDEN = Path(__file__).parent / "golden"
QUESTIONS = ["Describe the image.", "Describe the image with boxes.", "Where is the {}? Give its box.", "Is there {a}?", "How many objects are there?"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--goldens", action="store_true", help="rewrite golden/ from these weights")
    args = parser.parse_args()
    words, state, out = Words(), Path(args.state), Path(args.out)
    model = CogVLM(Config(vocab=words.size))
    model.load_state_dict(torch.load(state / "language.pt", map_location="cpu")["average"], strict=False)
    load_tower(model, state / "vision.pt")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.model", "tokenizer_config.json", "world.json"):
        if not (out / name).exists():
            shutil.copy(TOKENIZER.parent / name, out)
    checkpoint.save(model, out)
    size = (out / "model.safetensors").stat().st_size
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {size:,} bytes")
    if args.goldens:
        write_goldens(*checkpoint.load(out), Sprites(args.sprites))


@torch.no_grad()
def write_goldens(model: CogVLM, words: Words, sprites: Sprites):
    """Three pictures with the ids the exported weights answer with, for tests of the runtime."""
    GOLDEN.mkdir(exist_ok=True)
    examples = []
    for n, shape in enumerate([(140, 140), (280, 210), (200, 300)]):
        rng = np.random.default_rng([2026, n])
        scene = sample_scene(rng, sprites, max(shape), n + 1, longer=(0.25, 0.45), repeat=0)
        picture = Image.fromarray(draw(rng, sprites, scene)[0]).resize(shape, Image.BICUBIC)
        picture.save(GOLDEN / f"scene-{n}.png")
        side = model.config.image_size
        pixels = np.asarray(picture.resize((side, side), Image.BICUBIC))
        features = model.model.vision(torch.from_numpy(normalise(pixels[None])))
        subject = CONCEPTS[scene["objects"][0]["concept"]]["name"]
        prompts = [prompt([], q.format(subject, a=article(subject))) for q in QUESTIONS]
        ids = [words.encode(p) for p in prompts]
        for p, i, said in zip(prompts, ids, answer_ids(model, words, features, [ids])[0]):
            answer = words.model.decode(said)
            examples.append({"image": f"scene-{n}.png", "prompt": p, "promptIds": i, "answerIds": said, "answer": answer})
    (GOLDEN / "answers.json").write_text(
        "[\n" + ",\n".join("  " + json.dumps(e) for e in examples) + "\n]\n"
    )


if __name__ == "__main__":
    main()
