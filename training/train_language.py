"""Stages B and C: teach the decoder to talk about patch codes.

    python train_language.py --features oracle --sprites DIR --state DIR      # B: codes made up, no pictures
    python train_language.py --features both --sprites DIR --state DIR        # C: every other batch what the tower sees
    python train_language.py --features tower --sprites DIR --state DIR       #    and in the end nothing else

Resumes from STATE/language.pt. Stage C reads the tower's averaged weights from STATE/vision.pt, afresh
every 200 steps, so that both can train side by side.
"""

import argparse
import copy
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

import codes
import turns
from init import init_decoder
from language import Words, answer_loss, box_reading_loss, oracle_features, text_batch
from model import CogVLM, Config, make_rows
from optim import make_optimisers, set_rate, update_average
from scenes import Sprites, draw, normalise, sample_scene


@torch.no_grad()
def tower_features(rng, model, sprites, scenes, keep: int | None = None):
    """What the tower writes. `keep` drops most of the background's rows: they all say the same."""
    pixels = np.stack([draw(rng, sprites, scene)[0] for scene in scenes])
    rows = model.model.vision(torch.from_numpy(normalise(pixels)))
    if keep is None:
        return rows
    score = rows[..., [codes.OBJECT, codes.CENTRE]].amax(-1) + 0.15 * torch.rand(rows.shape[:2])
    kept = score.topk(keep, 1).indices.sort(1).values
    return rows.gather(1, kept[..., None].expand(-1, -1, rows.shape[-1]))


def decoder_parameters(model):
    return [(n, p) for n, p in model.named_parameters() if ".vision." not in n or n.endswith(("boi", "eoi"))]


def load_tower(model, path: Path) -> None:
    if path.exists():
        weights = torch.load(path, weights_only=False)["average"]
        model.model.vision.load_state_dict({k: v for k, v in weights.items() if k not in ("boi", "eoi")}, strict=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", choices=["oracle", "tower", "both"], required=True)
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--talks", type=int, default=4, help="conversations a scene")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--half-life", type=float, default=2000)
    parser.add_argument("--objects", type=int, nargs=2, default=(1, 6))
    parser.add_argument("--mix", choices=["all", "binding"], default="all")
    parser.add_argument("--reading", type=float, default=0.5, help="weight of the box-reading aid")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    words, sprites, state = Words(), Sprites(args.sprites), Path(args.state)
    state.mkdir(parents=True, exist_ok=True)
    c = Config(vocab=words.size)
    model = CogVLM(c)
    init_decoder(model, words.token_of)
    average = copy.deepcopy(model)
    trained = decoder_parameters(model)
    optimisers = make_optimisers(trained, args.rate)
    path, step, warm = state / "language.pt", 0, 0
    if path.exists():
        saved = torch.load(path, weights_only=False)
        model.load_state_dict(saved["model"], strict=False)
        average.load_state_dict(saved["average"], strict=False)
        for o, s in zip(optimisers, saved.get("optimisers", [])):
            o.load_state_dict(s)
        step = saved["step"]
        warm = step - 100 if "optimisers" in saved else step
    mix = turns.MIX if args.mix == "all" else turns.BINDING_MIX
    end, mark, sums = time.time() + args.minutes * 60, time.time(), defaultdict(list)
    first = step
    while time.time() < end:
        if args.features != "oracle" and (step - first) % 200 == 0:
            load_tower(model, state / "vision.pt")
        rng = np.random.default_rng([args.seed, 77, step])
        low, high = args.objects
        scenes = [sample_scene(rng, sprites, c.image_size, int(rng.integers(low, high + 1)), repeat=0.15) for _ in range(args.batch)]
        batch = text_batch(rng, words, scenes, mix, args.talks)
        seen = args.features != "oracle" and (args.features == "tower" or step % 2)
        features = tower_features(rng, model, sprites, scenes, keep=None if step % 8 == 1 else 48) if seen else oracle_features(rng, c, scenes)
        rows = make_rows(c, batch.positions, batch.turns, features.shape[1])
        rows.inside = []
        loss, stats = answer_loss(words, model, model.decode(features, batch.ids, rows), batch)
        reading = box_reading_loss(words, rows.inside[1], batch.ids)
        stats["reading"] = reading.item()
        (loss + args.reading * reading).backward()
        set_rate(optimisers, args.rate * min(1, (step - warm + 1) / 100) * (1 + step / args.half_life) ** -0.5)
        for o in optimisers:
            o.step()
            o.zero_grad()
        update_average(average, model, step, keep=0.99)
        step += 1
        for key, value in {"loss": loss.item(), **stats}.items():
            sums[("~" if args.features == "both" and not seen else "") + key].append(value)
        if step % 100 == 0:
            m = " ".join(f"{k} {np.mean(v):.1f}" if k.endswith("#") else f"{k} {np.mean(v):.3f}" for k, v in sums.items())
            rate = 100 * args.batch / (time.time() - mark)
            print(f"{time.strftime('%H:%M:%S')} step {step} {m} {rate:.0f}/s", flush=True)
            mark, sums = time.time(), defaultdict(list)
        if step % 100 == 0 or time.time() >= end:
            own = lambda m: {k: v for k, v in m.state_dict().items() if ".vision." not in k or k.endswith(("boi", "eoi"))}
            saved = {"model": own(model), "average": own(average), "step": step}
            saved["optimisers"] = [o.state_dict() for o in optimisers]
            torch.save(saved, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").rename(path)


if __name__ == "__main__":
    main()
