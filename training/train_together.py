"""Tower and decoder go on together, on a GPU: what the decoder has to say flows back into what the tower writes.

    python train_together.py --sprites DIR --state DIR --from CHECKPOINT --minutes 8 [--device cuda]

Scenes are drawn on the device; descriptions and conversations come from processes, one a spare core. The rate of learning
follows the clock, so that --minutes, from start to end, is kept whatever the machine. A tower of fewer layers than
`Config` has is made deeper. Writes STATE/vision.pt and STATE/language.pt in half precision, once a minute and at the end.
"""

import argparse
import copy
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import checkpoint
import codes
from device_scenes import FIELDS, describe, draw_batch, make_atlas
from init import init_model_deeper
from language import CHOICES, Words, answer_loss, answer_score, box_reading_loss, padded, split_batch, text_rows
from model import CogVLM, Config, make_rows
from optim import make_optimisers, set_rate, update_average
from scenes import PLAIN, TRAINED, Drawing, Sprites, sample_scene
from train_language import REPEAT, is_decoders
from train_vision import choose_flags, dense_loss, measure

DRAWING = Drawing(elsewhere=0.45, vary=0.45)
OBJECTS = [0.08, 0.12, 0.15, 0.17, 0.17, 0.16, 0.08, 0.07]  # how often a scene has 1, 2, ... of them
MIX = {"caption": 9, "detailed": 1, "grounded": 5, "ground": 3, "where": 2, "name": 3, "count": 5, "exists": 2, "colour": 1}
TALKS, LONGEST = 6, 189  # conversations a scene, and the rows that they may take in all
ANSWERS, READING = 3.0, 0.5  # weights of the decoder's losses beside the tower's


@dataclass
class Supply:
    """Batches that are ready, each in a slot of memory that all processes share."""

    objects: torch.Tensor  # [slots, B, MOST, FIELDS]
    about: torch.Tensor  # [slots, B, 2]
    text: torch.Tensor  # [slots, B, LONGEST, 5 + CHOICES]
    free: multiprocessing.Queue
    ready: multiprocessing.Queue

    def take(self, device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        slot = self.ready.get()
        batch = tuple(part[slot].to(device).long() for part in (self.objects, self.about, self.text))
        self.free.put(slot)
        return batch


def start_supply(sprites: Sprites, first, c: Config, batch: int, processes: int) -> Supply:
    """Must come before the device is first used: a process with a GPU's context cannot be copied."""
    slots = 3 * processes
    shared = lambda *shape, dtype: torch.zeros(slots, batch, *shape, dtype=dtype).share_memory_()
    context = multiprocessing.get_context("fork")
    supply = Supply(
        shared(codes.MOST, FIELDS, dtype=torch.int32),
        shared(2, dtype=torch.int32),
        shared(LONGEST, 5 + CHOICES, dtype=torch.int16),
        context.Queue(),
        context.Queue(),
    )
    for slot in range(slots):
        supply.free.put(slot)
    for process in range(processes):
        context.Process(target=invent, args=(supply, sprites, first, c, process), daemon=True).start()
    return supply


def invent(supply: Supply, sprites: Sprites, first, c: Config, process: int) -> None:
    torch.set_num_threads(1)
    rng, words = np.random.default_rng([2, process]), Words()
    while True:
        slot = supply.free.get()
        counts = 1 + rng.choice(len(OBJECTS), supply.about.shape[1], p=OBJECTS)
        scenes = [sample_scene(rng, sprites, c.image_size, int(n), repeat=REPEAT, drawing=DRAWING) for n in counts]
        objects, about = zip(*(describe(scene, first) for scene in scenes))
        rows = [text_rows(rng, words, scene, MIX, TALKS, LONGEST) for scene in scenes]
        for part, values in ((supply.objects, np.stack(objects)), (supply.about, np.array(about)), (supply.text, padded(rows, LONGEST))):
            part[slot] = torch.from_numpy(values)
        supply.ready.put(slot)


def load(source: Path, c: Config) -> CogVLM:
    """The checkpoint's weights in a model of `c`, whose tower may have more layers."""
    old, _ = checkpoint.load(source)
    model = CogVLM(c)
    init_model_deeper(model, old)
    return model


def save(state: Path, average: CogVLM) -> None:
    half = {name: weights.half().cpu() for name, weights in average.state_dict().items()}
    tower = {n.removeprefix("model.vision."): w for n, w in half.items() if n.startswith("model.vision.")}
    rest = {n: w for n, w in half.items() if is_decoders(n)}
    for name, weights in (("vision.pt", tower), ("language.pt", rest)):
        torch.save({"average": weights}, state / (name + ".tmp"))
        (state / (name + ".tmp")).rename(state / name)


@dataclass
class Parts:
    """What takes the time, as it is or compiled for the device."""

    draw: Callable
    tower_loss: Callable
    answer_loss: Callable


def make_parts(model: CogVLM, device: torch.device) -> Parts:
    """The compiler is given layers, which are all alike, and losses, not the whole: that would take it minutes."""
    if device.type != "cuda":
        return Parts(draw_batch, tower_loss, answer_loss)
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled is only slower
    for layer in [*model.model.vision.transformer.layers, *model.model.layers]:
        layer.compile()
    return Parts(*map(torch.compile, (draw_batch, tower_loss, answer_loss)))


def tower_loss(features, labels, c: Config) -> torch.Tensor:
    return dense_loss(features, labels, choose_flags(features, labels, c))


def losses(model: CogVLM, words: Words, parts: Parts, pixels, labels, text) -> tuple[torch.Tensor, ...]:
    """The tower's loss, the answers', the aid's, and the logits."""
    c = model.config
    features = model.model.vision(pixels).float()
    dense = parts.tower_loss(features, labels, c)
    rows = make_rows(c, text.positions, text.turns, features.shape[1])
    rows.inside = []
    logits = model.lm_head(model.decode(features, text.ids, rows))
    return dense, parts.answer_loss(words, logits, text), box_reading_loss(words, rows.inside[1].float(), text.ids), logits


def main():
    began = time.time()
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--from", dest="source", required=True, help="an exported checkpoint to begin with")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--variants", type=int, default=5, help="other drawings of each icon")
    args = parser.parse_args()
    tell = lambda text: print(f"{time.time() - began:6.1f} s {text}", flush=True)
    state = Path(args.state)
    state.mkdir(parents=True, exist_ok=True)
    words = Words()
    c = Config(vocab=words.size)
    sprites = Sprites(args.sprites, args.variants)
    atlas, first = make_atlas(sprites, 96)
    supply = start_supply(sprites, first, c, args.batch, max(1, os.cpu_count() - 2))
    tell(f"{len(atlas.icons):,} drawings")

    device = torch.device(args.device)
    torch.set_float32_matmul_precision("high")
    codes.move_to(device)
    words.move_to(device)
    atlas = atlas.to(device)
    model = load(Path(args.source), c).to(device)
    average = copy.deepcopy(model)
    optimisers = make_optimisers(list(model.named_parameters()), args.rate)
    parts = make_parts(model, device)

    deadline, sums, step, kept, told, warm = began + 60 * args.minutes, defaultdict(float), 0, time.time(), 0, None
    while (now := time.time()) < deadline:
        objects, about, text = supply.take(device)
        batch = split_batch(text)
        pixels, labels = parts.draw(atlas, objects, about, c.image_size, c.grid)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            dense, answers, reading, logits = losses(model, words, parts, pixels, labels, batch)
        (dense + ANSWERS * (answers + READING * reading)).backward()
        if step == 5:
            warm = now  # what comes before is mostly the compiler's time
        left = (deadline - now) / (deadline - warm) if warm else 1.0
        set_rate(optimisers, args.rate * min(1.0, (step + 1) / 100, left / 0.6))
        for o in optimisers:
            o.step()
            o.zero_grad()
        update_average(average, model, step)
        step += 1
        for name, value in (("dense", dense), ("answers", answers), ("reading", reading)):
            sums[name] += value.detach()
        if step in (1, 10, 50) or step % 500 == 0:
            since, told = step - told, step
            means = " ".join(f"{name} {value.item() / since:.3f}" for name, value in sums.items())
            right = " ".join(f"{k} {v:.3f}" for k, v in answer_score(words, logits, batch).items())
            tell(f"step {step} {means} | {right} | {left:.2f} left")
            sums.clear()
        if now - kept > 60:
            save(state, average)
            kept = now
    save(state, average)
    tell(f"step {step}, {step * args.batch:,} scenes")
    for name, drawing in (("trained styles", PLAIN), ("held-out style", Drawing(styles=[TRAINED]))):
        figures = measure(average.model.vision, c, sprites, scenes=240, drawing=drawing)
        tell(name + " " + " ".join(f"{k} {v:.3f}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
