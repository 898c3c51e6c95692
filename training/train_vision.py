"""Stage A: teach the tower to write every patch's code (see codes.py). No language here.

    python train_vision.py --sprites DIR --state DIR [--steps 2400]

Resumes from STATE/vision.pt when that exists; does nothing when its steps are done.
"""

import argparse
import copy
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import codes
from init import init_vision
from model import Config, Vision
from optim import make_optimisers, rate_at, set_rate, update_average
from scenes import Sprites, draw, normalise, patch_owners, sample_scene


def make_batch(rng, sprites, c: Config, count: int, **scene_options):
    """`count` scenes -> pixels, target rows, owners (-2 ignored) and scenes."""
    pixels, owners, centres, concepts, boxes, scenes = [], [], [], [], [], []
    few = scene_options.pop("objects", None)
    for _ in range(count):
        wanted = few or (int(rng.integers(5, 9)) if rng.random() < 0.8 else int(rng.integers(1, 5)))
        scene = sample_scene(rng, sprites, c.image_size, wanted, **scene_options)
        image, owner = draw(rng, sprites, scene)
        who, centre = patch_owners(owner, scene["objects"], c.grid)
        table = np.array([[o["concept"], *o["box"]] for o in scene["objects"]])
        pixels.append(image)
        owners.append(who)
        centres.append(centre)
        mine = table[who.clip(min=0)]
        concepts.append(np.where(who >= 0, mine[:, 0], -1))
        boxes.append(mine[:, 1:] / c.image_size)
        scenes.append(scene)
    pick = lambda key: torch.tensor([s[key] for s in scenes])[:, None].expand(-1, c.grid**2)
    target = codes.object_rows(
        torch.from_numpy(np.stack(concepts)),
        torch.from_numpy(np.stack(boxes)).float(),
        torch.from_numpy(np.stack(centres)),
        pick("background"),
        pick("pattern"),
    )
    return torch.from_numpy(normalise(np.stack(pixels))), target, torch.from_numpy(np.stack(owners)), scenes


def dense_loss(rows, target, owners):
    """Name cross-entropy plus distance to the code, objects and background weighed separately."""
    is_object, is_background = owners >= 0, owners == -1
    known = is_object | is_background
    wanted = torch.where(is_object, target[..., codes.NAME].argmax(-1), 64)
    logits = 4 * torch.cat([rows[..., codes.NAME], rows[..., codes.BACKGROUND, None] * 2.5 / 3], -1)
    name = F.cross_entropy(logits[known], wanted[known], reduction="none")
    fg = is_object[known]
    name = name[fg].mean() + 0.3 * name[~fg].mean()
    gap = (rows - target).square()
    box = 2 * gap[..., codes.BOX][is_object].sum(-1).mean() / 5.9
    box = box + 0.5 * codes.box_loss(rows[is_object], codes.read_boxes(target[is_object]))
    pull = gap[..., codes.NAME][known].sum(-1).mean() + gap[..., codes.BACKGROUND][known].mean()
    around = gap[..., codes.COLOUR].sum(-1).mean() + gap[..., codes.PATTERN].sum(-1).mean()
    unused = rows[..., codes.NUMBER.start :].square().sum(-1).mean()
    flag = target[..., codes.CENTRE]
    centre = F.binary_cross_entropy_with_logits(
        8 * (rows[..., codes.CENTRE] - 0.5), flag, weight=known * (1 + flag)
    )
    flags = gap[..., codes.OBJECT][known].mean() + gap[..., codes.CENTRE][known].mean()
    return name + box + 8 * centre + 0.05 * pull + 0.3 * flags + 0.3 * around + 0.1 * unused


@torch.no_grad()
def measure(vision, c: Config, sprites, *, scenes=96, seed=7, **options):
    """Accuracy of the name on object patches and on centre patches, box error in pixels, centre F1."""
    rng = np.random.default_rng(seed)
    pixels, target, owners, _ = make_batch(rng, sprites, c, scenes, **options)
    rows = torch.cat([vision(p) for p in pixels.split(32)])
    is_object, centre = owners >= 0, target[..., codes.CENTRE] > 0.5
    right = rows[..., codes.NAME].argmax(-1) == target[..., codes.NAME].argmax(-1)
    error = (codes.read_boxes(rows[centre]) - codes.read_boxes(target[centre])).abs().mean() * c.image_size
    said = (rows[..., codes.CENTRE] > 0.5) & (owners != -2)
    f1 = 2 * (said & centre).sum() / (said.sum() + centre.sum()).clamp(min=1)
    return {
        "patch": right[is_object].float().mean().item(),
        "centre": right[centre].float().mean().item(),
        "px": error.item(),
        "f1": f1.item(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.set_flush_denormal(True)  # far patches get attention too small for a normal float, which is slow
    c, sprites = Config(), Sprites(args.sprites)
    vision = Vision(c)
    init_vision(vision, c)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    mark, sums = time.time(), 0.0
    while step < args.steps:
        rng = np.random.default_rng([args.seed, step])
        pixels, target, owners, _ = make_batch(rng, sprites, c, args.batch, repeat=0.1)
        loss = dense_loss(vision(pixels), target, owners)
        loss.backward()
        set_rate(optimisers, rate_at(step, args.steps, args.rate))
        for o in optimisers:
            o.step()
            o.zero_grad()
        update_average(average, vision, step)
        step, sums = step + 1, sums + loss.item()
        if step % 100 == 0:
            m = " ".join(f"{k} {v:.3f}" for k, v in measure(average, c, sprites).items())
            rate = 100 * args.batch / (time.time() - mark)
            print(f"{time.strftime('%H:%M:%S')} step {step} loss {sums / 100:.3f} {m} {rate:.0f}/s", flush=True)
            mark, sums = time.time(), 0.0
        if step % 100 == 0 or step == args.steps:
            state = {"vision": vision.state_dict(), "average": average.state_dict(), "step": step}
            state["optimisers"] = [o.state_dict() for o in optimisers]
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").rename(path)


if __name__ == "__main__":
    main()
