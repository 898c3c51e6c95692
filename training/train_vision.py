"""Stage A: teach the tower to write every patch's code (see codes.py). No language here.

    python train_vision.py --sprites DIR --state DIR [--steps 6000] [--from CHECKPOINT]

Resumes from STATE/vision.pt when that exists; does nothing when its steps are done. The rate falls over the last 40 %
of the steps, so more of them may be asked for as long as that has not begun.
"""

import argparse
import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import checkpoint
import codes
import fast
from drawings import Sprites
from init import init_deeper, init_vision
from model import Config, Vision
from optim import make_optimisers, rate_at, set_rate, update_average
from scenes import PLAIN, VARIED, Drawing, draw, normalise, patch_owners, sample_scene
from world import TRAINED

VARIANTS = 3  # other drawings of each icon
KEEP_EVERY = 180  # seconds between two writings of the state


@dataclass
class Labels:
    """What is known of every patch, [B, patches]."""

    owners: Tensor  # the object it shows (-1 = background, -2 = too little to tell)
    concepts: Tensor  # of that object, -1 where there is none; from len(codes.NAMES) on, a kind that no scene is asked about
    boxes: Tensor  # of that object, [B, patches, 4], in shares of the picture
    centres: Tensor  # whether the object's centre is on it
    background: Tensor
    pattern: Tensor
    numbers: codes.Numbers

    def rows(self, flags: Tensor) -> Tensor:
        return codes.object_rows(self.concepts, self.boxes, flags, self.background, self.pattern, self.numbers)


def label(owners: Tensor, centres: Tensor, concepts: Tensor, boxes: Tensor, background: Tensor, pattern: Tensor) -> Labels:
    """Owners and centres [B, patches]; of the objects [B, objects] the concepts (-1 = none) and boxes, in shares; of the scenes [B] the rest."""
    mine = lambda values: values.gather(1, owners.clamp(min=0)).masked_fill(owners < 0, 0)
    count, rank = codes.kind_numbers(concepts, boxes)
    everywhere = lambda values: values[:, None].expand_as(owners)
    return Labels(
        owners,
        mine(concepts).masked_fill(owners < 0, -1),
        torch.stack([mine(side) for side in boxes.unbind(-1)], -1),
        centres,
        everywhere(background),
        everywhere(pattern),
        codes.Numbers(mine(count), mine(rank), everywhere((concepts >= 0).sum(1))),
    )


def make_batch(rng, sprites, c: Config, count: int, *, objects: int | None = None, repeat=0.15, drawing=VARIED):
    """`count` scenes -> pixels, labels and scenes."""
    pixels, owners, centres, scenes = [], [], [], []
    for _ in range(count):
        wanted = objects or (int(rng.integers(5, 9)) if rng.random() < 0.75 else int(rng.integers(1, 5)))
        scene = sample_scene(rng, sprites, c.image_size, wanted, drawing=drawing, repeat=repeat)
        image, owner = draw(rng, sprites, scene)
        who, centre = patch_owners(owner, scene["objects"], c.grid)
        pixels.append(image)
        owners.append(who)
        centres.append(centre)
        scenes.append(scene)
    stack = lambda arrays: torch.from_numpy(np.stack(arrays))
    concepts, boxes = object_table(scenes)
    about = (torch.tensor([s[key] for s in scenes]) for key in ("background", "pattern"))
    labels = label(stack(owners), stack(centres), concepts, boxes, *about)
    return torch.from_numpy(normalise(np.stack(pixels))), labels, scenes


def object_table(scenes) -> tuple[Tensor, Tensor]:
    """The concepts [B, MOST] (-1 = none) and boxes [B, MOST, 4], in shares of the picture, of the scenes' objects."""
    concepts, boxes = torch.full((len(scenes), codes.MOST), -1), torch.zeros(len(scenes), codes.MOST, 4)
    for b, scene in enumerate(scenes):
        for i, item in enumerate(scene["objects"]):
            concepts[b, i], boxes[b, i] = item["concept"], torch.tensor(item["box"]) / scene["size"]
    return concepts, boxes


@torch.no_grad()
def choose_flags(rows: Tensor, labels: Labels, c: Config) -> Tensor:
    """The one patch of each object that should carry the flag: of those near its centre the one where the tower is best already.

    A fixed patch (the one that holds the centre) cannot be told where the centre lies near a border; two patches then
    both say "perhaps". A patch that the tower itself chose it can learn to choose again.
    """
    cell = (torch.arange(c.grid, device=rows.device) + 0.5) / c.grid
    at = torch.stack([cell.repeat(c.grid), cell.repeat_interleave(c.grid)], -1)
    middle = (labels.boxes[..., :2] + labels.boxes[..., 2:]) / 2
    away = (middle - at).abs().amax(-1) * c.grid  # in patches; at most 0.5 on the patch that holds the centre
    longer = (labels.boxes[..., 2:] - labels.boxes[..., :2]).amax(-1) * c.grid
    near = (labels.owners >= 0) & ((away <= 0.75 + 0.05 * longer) | labels.centres)
    said = (10 * codes.name_scores(rows)).log_softmax(-1).gather(-1, labels.concepts.clamp(0, len(codes.NAMES) - 1)[..., None])[..., 0]
    said = said.masked_fill(labels.concepts >= len(codes.NAMES), 0)
    score = 8 * (rows[..., codes.CENTRE] - 0.5) + 0.5 * said.clamp(min=-4) - 0.5 * away
    score = score.masked_fill(~near, -torch.inf)
    mine = labels.owners[:, None] == torch.arange(codes.MOST, device=rows.device)[:, None]  # [B, objects, patches]
    best, where = score[:, None].masked_fill(~mine, -torch.inf).max(-1)
    chosen = F.one_hot(where, c.grid**2).bool() & (best > -torch.inf)[..., None]
    return chosen.any(1)


def dense_loss(rows: Tensor, labels: Labels, flags: Tensor) -> Tensor:
    """Name cross-entropy plus distance to the code, objects and background weighed separately, flagged patches twice."""
    target, mean = labels.rows(flags), codes.weighted_mean
    is_object, background = labels.owners >= 0, labels.owners == -1
    known = is_object | background
    named = is_object & (labels.concepts < len(codes.NAMES))
    wanted = torch.where(named, labels.concepts, len(codes.NAMES))
    logits = 10 * torch.cat([codes.name_scores(rows), rows[..., codes.BACKGROUND, None] / codes.BACKGROUND_SIZE], -1)
    name = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    name = mean(name, named) + 0.3 * mean(name, background) + 0.5 * mean(name, flags & named)
    gap = (rows - target).square()
    box = 2 * mean(gap[..., codes.BOX].sum(-1), is_object) / 5.9
    box = box + 0.5 * codes.box_loss(rows, labels.boxes, is_object) + 0.5 * codes.box_loss(rows, labels.boxes, flags)
    number = codes.number_loss(rows, labels.numbers, is_object + 4.0 * flags)
    pull = mean(gap[..., codes.NAME].sum(-1), named | background) + mean(gap[..., codes.BACKGROUND], known)
    numbers = gap[..., codes.COUNT.start : codes.TOTAL.stop].sum(-1)
    around = gap[..., codes.COLOUR].sum(-1).mean() + gap[..., codes.PATTERN].sum(-1).mean()
    unused = gap[..., codes.NUMBER.start : codes.COUNT.start].sum(-1).mean() + gap[..., codes.TOTAL.stop :].sum(-1).mean()
    flag = flags.float()
    centre = F.binary_cross_entropy_with_logits(8 * (rows[..., codes.CENTRE] - 0.5), flag, weight=1 + flag)
    pulled = mean(gap[..., codes.OBJECT], known) + gap[..., codes.CENTRE].mean()
    near = 0.05 * pull + 0.3 * pulled + 0.3 * around + 0.1 * unused + 0.1 * mean(numbers, known)
    return name + box + 12 * centre + 0.5 * number + near


def others_loss(rows: Tensor, labels: Labels, flags: Tensor, kinds: Tensor) -> Tensor:
    """Which of the other kinds a patch shows: cross-entropy over their directions [kinds, 64], which are learnt, in the channels of names."""
    is_other = labels.concepts >= len(codes.NAMES)
    logits = 10 / codes.NAME_SIZE * rows[..., codes.NAME] @ F.normalize(kinds, dim=-1).T
    wanted = (labels.concepts - len(codes.NAMES)).clamp(min=0)
    loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    return codes.weighted_mean(loss, is_other) + 0.5 * codes.weighted_mean(loss, flags & is_other)


def iou(a: Tensor, b: Tensor) -> Tensor:
    side = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    area = lambda r: (r[..., 2:] - r[..., :2]).prod(-1)
    return side.prod(-1) / (area(a) + area(b) - side.prod(-1)).clamp(min=1e-6)


@torch.no_grad()
def measure(vision, c: Config, sprites, *, scenes=60, seed=7, drawing=PLAIN):
    """What could be read off the flagged rows, were the decoder perfect: the ceiling of all that follows.

    name: right on all patches of objects; kinds: recall and precision of the set of names; things: of pairs of name and
    box (IoU 0.5); counts: kinds whose number is right; px: mean error of a coordinate.
    """
    sums = {k: [0.0, 0.0] for k in ("name", "kindR", "kindP", "thingR", "thingP", "counts", "px")}

    def add(key, right, of=1):
        sums[key][0] += float(right)
        sums[key][1] += of

    for objects in range(1, 7):
        rng = np.random.default_rng([seed, objects])
        pixels, labels, drawn = make_batch(rng, sprites, c, scenes // 6, objects=objects, repeat=0.3, drawing=drawing)
        rows = vision(pixels.to(codes.NAMES.device))
        names, boxes = codes.name_scores(rows).argmax(-1).cpu(), codes.read_boxes(rows).cpu()
        flags = (rows[..., codes.CENTRE] > 0.5).cpu()
        on = labels.owners >= 0
        add("name", (names == labels.concepts)[on].sum(), int(on.sum()))
        for b, scene in enumerate(drawn):
            flagged = flags[b]
            said, where = names[b, flagged].tolist(), boxes[b, flagged]
            there = [o["concept"] for o in scene["objects"]]
            real = torch.tensor([o["box"] for o in scene["objects"]]) / c.image_size
            for kind in set(there):
                add("kindR", kind in said)
                add("counts", said.count(kind) == there.count(kind))
            for kind in set(said):
                add("kindP", kind in there)
            match = (iou(where[:, None], real) >= 0.5) & (torch.tensor(said, dtype=torch.long)[:, None] == torch.tensor(there))
            right = sum(match.any(0).tolist())
            add("thingR", right, len(there))
            add("thingP", min(right, sum(match.any(1).tolist())), len(said))
            add("px", (iou(where[:, None], real) >= 0.5).any(0).sum() and error_px(where, real, c), 1)
    return {k: a / max(n, 1e-9) for k, (a, n) in sums.items()}


def error_px(where: Tensor, real: Tensor, c: Config) -> float:
    """Mean error of the coordinates of every object that was found, whatever it was called."""
    overlap = iou(where[:, None], real)
    found = overlap.amax(0) >= 0.5
    return float((where[overlap.argmax(0)] - real)[found].abs().mean() * c.image_size)


def load_or_start(args, c: Config):
    vision = Vision(c)
    init_vision(vision, c)
    if args.source and args.source.endswith(".pt"):
        init_deeper(vision, c, torch.load(args.source, map_location="cpu")["average"])
    elif args.source:
        init_deeper(vision, c, checkpoint.load_weights(Path(args.source), "model.vision."))
    average = copy.deepcopy(vision)
    optimisers = make_optimisers(list(vision.named_parameters()), args.rate)
    path, step = Path(args.state) / "vision.pt", 0
    if path.exists():
        saved = torch.load(path, map_location="cpu")
        vision.load_state_dict(saved["vision"])
        average.load_state_dict(saved["average"])
        for o, s in zip(optimisers, saved["optimisers"]):
            o.load_state_dict(s)
        step = saved["step"]
    return vision, average, optimisers, step


def save(path: Path, vision, average, optimisers, step: int) -> None:
    state = {"vision": vision.state_dict(), "average": average.state_dict(), "step": step}
    state["optimisers"] = [o.state_dict() for o in optimisers]
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--from", dest="source", help="a checkpoint, or another run's vision.pt, whose tower to begin with")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.set_flush_denormal(True)  # far patches get attention too small for a normal float, which is slow
    fast.half = True
    c, sprites = Config(), Sprites(args.sprites, VARIANTS)
    path = Path(args.state) / "vision.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    vision, average, optimisers, step = load_or_start(args, c)
    mark, spent, sums, began = time.time(), time.process_time(), 0.0, step
    kept = mark
    while step < args.steps:
        rng = np.random.default_rng([args.seed, step])
        pixels, labels, _ = make_batch(rng, sprites, c, args.batch)
        rows = vision(pixels)
        loss = dense_loss(rows, labels, choose_flags(rows, labels, c))
        loss.backward()
        set_rate(optimisers, rate_at(step, args.steps, args.rate))
        for o in optimisers:
            o.step()
            o.zero_grad()
        update_average(average, vision, step)
        step, sums = step + 1, sums + loss.item()
        if step % 100 == 0:
            since = step - began
            rate, cpu = since * args.batch / (time.time() - mark), (time.process_time() - spent) / since
            m = " ".join(f"{k} {v:.3f}" for k, v in measure(average, c, sprites).items())
            print(f"{time.strftime('%H:%M:%S')} step {step} loss {sums / since:.3f} {m} {rate:.0f}/s {cpu:.2f} s/step", flush=True)
            if step % 500 == 0:
                unseen = measure(average, c, sprites, drawing=Drawing(styles=[TRAINED]))
                print("         held-out style " + " ".join(f"{k} {v:.3f}" for k, v in unseen.items()), flush=True)
            mark, spent, sums, began = time.time(), time.process_time(), 0.0, step
        if time.time() - kept > KEEP_EVERY or step == args.steps:
            save(path, vision, average, optimisers, step)
            kept = time.time()


if __name__ == "__main__":
    main()
