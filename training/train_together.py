"""Tower and decoder go on together, on a GPU: what the decoder has to say flows back into what the tower writes.

    python train_together.py --sprites DIR --state DIR --from CHECKPOINT --minutes 13 [--device cuda]

Scenes are drawn on the device; descriptions and conversations come from processes, one a spare core. The rate of learning
follows the clock, so that --minutes, from start to end, is kept whatever the machine. A tower of fewer layers than
`Config` has is made deeper. Writes STATE/vision.pt and STATE/language.pt in half precision, once a minute and at the end.
"""

import argparse
import copy
import math
import mmap
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
from device_scenes import FIELDS, Atlas, describe, draw_batch, fill_atlas
from drawings import Sprites
from init import init_model_deeper
from language import CHOICES, Words, answer_loss, answer_score, box_reading_loss, padded, split_batch, text_rows
from model import CogVLM, Config, make_rows
from optim import make_optimisers, set_rate, update_average
from scenes import Drawing, sample_scene
from train_language import REPEAT, is_decoders
from train_vision import choose_flags, dense_loss, others_loss

DRAWING = Drawing(elsewhere=0.65, vary=0.5)
WIDER = Drawing(elsewhere=0.65, vary=0.5, others=0.45)  # of the scenes that are only looked at
OBJECTS = [0.08, 0.12, 0.15, 0.17, 0.17, 0.16, 0.08, 0.07]  # how often a scene has 1, 2, ... of them
MIX = {"caption": 9, "detailed": 1, "grounded": 5, "ground": 3, "where": 2, "name": 3, "count": 5, "exists": 2, "colour": 1}
TALKS, LONGEST = 6, 189  # conversations a scene, and the rows that they may take in all
ANSWERS, READING, OTHERS = 3.0, 0.5, 0.5  # weights of the decoder's losses, and of the other kinds', beside the tower's
ROOM, KINDS = 200_000, 2_000  # drawings and other kinds there may be; fixed, so that nothing is compiled twice


@dataclass
class Supply:
    """Drawings, and batches that are ready, each in a slot; all in memory that the processes share."""

    atlas: Atlas
    objects: torch.Tensor  # [slots, B, MOST, FIELDS]
    about: torch.Tensor  # [slots, B, 2]
    text: torch.Tensor  # [slots, T, LONGEST, 5 + CHOICES], of the first T scenes
    free: multiprocessing.Queue
    ready: multiprocessing.Queue
    drawn: multiprocessing.Event  # the drawings are there
    done: multiprocessing.Event  # no more is wanted
    maker: multiprocessing.Process | None = None

    def wait_for_drawings(self) -> None:
        while not self.drawn.wait(timeout=5):
            if not self.maker.is_alive():
                raise RuntimeError("the process that makes the drawings has ended; its own error stands above")

    def take(self, device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        slot = self.ready.get()
        batch = tuple(part[slot].to(device).long() for part in (self.objects, self.about, self.text))
        self.free.put(slot)
        return batch

    def blank(self, device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A batch of empty scenes, to compile with."""
        empty = torch.zeros_like(self.objects[0])
        empty[..., 1] = -1
        return tuple(part.to(device).long() for part in (empty, self.about[0], self.text[0]))


def shared(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """Zeros that processes forked from this one have in common."""
    bytes = math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
    return torch.frombuffer(mmap.mmap(-1, bytes), dtype=dtype).view(*shape)


def start_supply(args, c: Config) -> Supply:
    """Drawings and batches are made by processes of their own. Must come before the device is first used: a process with a GPU's context cannot be copied."""
    processes = max(1, os.cpu_count() - 2)
    slots = 3 * processes
    context = multiprocessing.get_context("fork")
    supply = Supply(
        Atlas(shared(ROOM, 4, 96, 96, dtype=torch.uint8), shared(ROOM, dtype=torch.int64), shared(ROOM, dtype=torch.int64)),
        shared(slots, args.batch, codes.MOST, FIELDS, dtype=torch.int32),
        shared(slots, args.batch, 2, dtype=torch.int32),
        shared(slots, args.talks, LONGEST, 5 + CHOICES, dtype=torch.int16),
        context.Queue(),
        context.Queue(),
        context.Event(),
        context.Event(),
    )
    supply.maker = context.Process(target=prepare, args=(supply, args, c, slots, processes))
    supply.maker.start()
    return supply


def prepare(supply: Supply, args, c: Config, slots: int, processes: int) -> None:
    began = time.time()
    sprites = Sprites(args.sprites, args.variants, others=True)
    assert len(sprites.others) <= KINDS, f"{len(sprites.others)} other kinds; make KINDS larger"
    first = fill_atlas(supply.atlas, sprites)
    drawings = sum(len(d) for style in [*sprites.images, sprites.others] for d in style)
    print(f"{time.time() - began:6.1f} s {drawings:,} drawings, {len(sprites.others):,} other kinds", flush=True)
    supply.drawn.set()
    for slot in range(slots):
        supply.free.put(slot)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=invent, args=(supply, sprites, first, c, n), daemon=True) for n in range(processes)]
    for worker in workers:
        worker.start()
    supply.done.wait()  # leaving ends them


def invent(supply: Supply, sprites: Sprites, first, c: Config, process: int) -> None:
    torch.set_num_threads(1)
    rng, words = np.random.default_rng([2, process]), Words()
    while True:
        slot = supply.free.get()
        counts = 1 + rng.choice(len(OBJECTS), supply.about.shape[1], p=OBJECTS)
        talks = supply.text.shape[1]
        sample = lambda n, drawing: sample_scene(rng, sprites, c.image_size, int(n), repeat=REPEAT, drawing=drawing)
        scenes = [sample(n, DRAWING if i < talks else WIDER) for i, n in enumerate(counts)]
        objects, about = zip(*(describe(scene, first) for scene in scenes))
        rows = [text_rows(rng, words, scene, MIX, TALKS, LONGEST) for scene in scenes[:talks]]
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


def tower_loss(features, labels, table, c: Config) -> tuple[torch.Tensor, torch.Tensor]:
    flags = choose_flags(features, labels, c)
    return dense_loss(features, labels, flags), others_loss(features, labels, flags, table)


def losses(model: CogVLM, table, words: Words, parts: Parts, pixels, labels, text) -> tuple[torch.Tensor, ...]:
    """The tower's loss, the other kinds', the answers', the aid's, and the logits."""
    c, talks = model.config, len(text.ids)
    features = model.model.vision(pixels).float()
    dense, others = parts.tower_loss(features, labels, table, c)
    rows = make_rows(c, text.positions, text.turns, features.shape[1])
    rows.inside = []
    logits = model.lm_head(model.decode(features[:talks], text.ids, rows))
    return dense, others, parts.answer_loss(words, logits, text), box_reading_loss(words, rows.inside[1].float(), text.ids), logits


def main():
    began = time.time()
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--from", dest="source", required=True, help="an exported checkpoint to begin with")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=640)
    parser.add_argument("--talks", type=int, default=256, help="scenes of a batch that are talked about; the others are only looked at")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--variants", type=int, default=5, help="other drawings of each icon")
    args = parser.parse_args()
    Path(args.state).mkdir(parents=True, exist_ok=True)
    words = Words()
    c = Config(vocab=words.size)
    supply = start_supply(args, c)
    try:
        train(args, began, words, c, supply)
    finally:
        supply.done.set()


def train(args, began: float, words: Words, c: Config, supply: Supply) -> None:
    tell = lambda text: print(f"{time.time() - began:6.1f} s {text}", flush=True)
    state = Path(args.state)

    device = torch.device(args.device)
    torch.set_float32_matmul_precision("high")
    codes.move_to(device)
    words.move_to(device)
    model = load(Path(args.source), c).to(device)
    average = copy.deepcopy(model)
    table = torch.nn.Parameter(torch.randn(KINDS, 64, device=device) / 8)
    optimisers = make_optimisers([*model.named_parameters(), ("embed_others", table)], args.rate)
    parts = make_parts(model, device)

    atlas = supply.atlas.to(device)  # the same place on the device, blank as yet
    for _ in range(2):
        step_losses(model, table, words, parts, atlas, supply.blank(device))[0].backward()
    for o in optimisers:
        o.zero_grad()
    tell("compiled")
    supply.wait_for_drawings()
    atlas.copy_from(supply.atlas)
    tell("drawings are there")

    began_steps = time.time()
    deadline, sums, step, kept, told = began + 60 * args.minutes, defaultdict(float), 0, time.time(), 0
    while (now := time.time()) < deadline:
        loss, parts_of_loss, logits, batch = step_losses(model, table, words, parts, atlas, supply.take(device))
        loss.backward()
        left = (deadline - now) / (deadline - began_steps)
        set_rate(optimisers, args.rate * min(1.0, (step + 1) / 100, left / 0.6))
        for o in optimisers:
            o.step()
            o.zero_grad()
        update_average(average, model, step)
        step += 1
        for name, value in parts_of_loss.items():
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


def step_losses(model: CogVLM, table, words: Words, parts: Parts, atlas: Atlas, batch):
    """What to descend, its parts, the logits and the text."""
    objects, about, text = batch
    text, c = split_batch(text), model.config
    pixels, labels = parts.draw(atlas, objects, about, c.image_size, c.grid)
    with torch.autocast(objects.device.type, torch.bfloat16, enabled=objects.is_cuda):
        dense, others, answers, reading, logits = losses(model, table, words, parts, pixels, labels, text)
    named = {"dense": dense, "others": others, "answers": answers, "reading": reading}
    return dense + OTHERS * others + ANSWERS * (answers + READING * reading), named, logits, text


if __name__ == "__main__":
    main()
