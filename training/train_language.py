"""Stages B and C: teach the decoder to talk about patch codes.

    python train_language.py --sprites DIR --state DIR [--until seen]
    python train_language.py --sprites DIR --state DIR --from CHECKPOINT      # begin with that decoder

The stages follow each other: `binding` and `talk` read codes made up by hand, so they need no pictures and no tower;
`seen` and `telling` read, three batches of four, what the tower of STATE/vision.pt really writes, and should begin when
the tower is good; they read its file again every hundred steps, so it may still be learning. `telling` is mostly
captions: what is left out of them is the last thing to be learnt. It starts with a new optimiser and a rate of its own.
With --from, a checkpoint of the same world goes on with `telling`, and one of a smaller world with `talk`.
Resumes from STATE/language.pt, in the middle of a stage too.
"""

import argparse
import copy
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import checkpoint
import fast
import turns
from codes import CENTRE, OBJECT
from drawings import Sprites
from init import init_decoder, init_from, init_model_deeper
from language import Words, answer_loss, answer_score, box_reading_loss, oracle_features, text_batch
from model import CogVLM, Config, make_rows
from optim import make_optimisers, rate_at, set_rate, update_average
from scenes import PLAIN, Drawing, draw, normalise, sample_scene
from train_vision import KEEP_EVERY, VARIANTS
from world import CONCEPTS


@dataclass
class Stage:
    steps: int
    objects: tuple[int, int]
    mix: dict[str, float]
    sees_tower: bool
    rate: float = 2e-3
    anew: bool = False  # with a new optimiser and a schedule that begins here


STAGES = {
    "binding": Stage(600, (1, 4), turns.BINDING_MIX, False),
    "talk": Stage(1200, (1, 6), turns.MIX, False),
    "seen": Stage(1000, (1, 6), turns.MIX, True),
    "telling": Stage(1800, (1, 6), turns.TELLING_MIX, True, rate=1e-3, anew=True),
}
SEEN = Drawing(elsewhere=0.2, vary=0.25)
REPEAT = 0.3  # how often a new object is of a kind that is there already


def stage_at(step: int) -> Stage | None:
    for stage in STAGES.values():
        if step < stage.steps:
            return stage
        step -= stage.steps
    return None


def schedule(step: int) -> tuple[int, int]:
    """The step counted from where the current schedule of the rate began, and the steps of that schedule."""
    begin, end = 0, 0
    for stage in STAGES.values():
        if stage.anew and end > step:
            break
        begin = end if stage.anew else begin
        end += stage.steps
    return step - begin, end - begin


def steps_until(name: str) -> int:
    """The steps of all stages up to and with this one."""
    names = list(STAGES)
    return sum(STAGES[n].steps for n in names[: names.index(name) + 1])


@torch.no_grad()
def tower_features(rng, model, sprites, scenes, keep: int | None = None):
    """What the tower writes. `keep` drops most of the background's rows: they all say the same."""
    pixels = np.stack([draw(rng, sprites, scene)[0] for scene in scenes])
    rows = model.model.vision(torch.from_numpy(normalise(pixels)))
    if keep is None:
        return rows
    score = rows[..., [OBJECT, CENTRE]].amax(-1) + 0.15 * torch.rand(rows.shape[:2])
    kept = score.topk(keep, 1).indices.sort(1).values
    return rows.gather(1, kept[..., None].expand(-1, -1, rows.shape[-1]))


def is_decoders(name: str) -> bool:
    """Of the weights of a whole model: all but the tower's; the rows around an image are the decoder's."""
    return ".vision." not in name or name.endswith(("boi", "eoi"))


def decoder_parameters(model):
    return [(n, p) for n, p in model.named_parameters() if is_decoders(n)]


def load_tower(model, path: Path) -> None:
    weights = torch.load(path, map_location="cpu")["average"]
    model.model.vision.load_state_dict({k: v for k, v in weights.items() if k not in ("boi", "eoi")}, strict=False)


def load_or_start(words: Words, c: Config, state: Path, source: str | None):
    model = CogVLM(c)
    init_decoder(model, words.token_of)
    path, step = state / "language.pt", 0
    if source and not path.exists():
        old, old_words = checkpoint.load(Path(source))
        concepts = json.loads((Path(source) / "world.json").read_text())["concepts"]
        if concepts == CONCEPTS:
            init_model_deeper(model, old)
            if not (state / "vision.pt").exists():
                torch.save({"average": old.model.vision.state_dict()}, state / "vision.pt")
            step = steps_until("seen")
        else:
            init_from(model, words, old, old_words, concepts)
            step = steps_until("binding")
    average = copy.deepcopy(model)
    optimisers = make_optimisers(decoder_parameters(model), STAGES["binding"].rate)
    if path.exists():
        saved = torch.load(path, map_location="cpu")
        model.load_state_dict(saved["model"], strict=False)
        average.load_state_dict(saved["average"], strict=False)
        for o, s in zip(optimisers, saved["optimisers"]):
            o.load_state_dict(s)
        step = saved["step"]
    return model, average, optimisers, step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--from", dest="source", help="an exported checkpoint to begin with, if STATE has no language.pt")
    parser.add_argument("--until", choices=list(STAGES), default=list(STAGES)[-1], help="the last stage to run")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--talks", type=int, default=4, help="conversations a scene")
    parser.add_argument("--reading", type=float, default=0.5, help="weight of the box-reading aid")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.set_flush_denormal(True)
    fast.half = True
    words, state = Words(), Path(args.state)
    sprites = Sprites(args.sprites, VARIANTS if steps_until(args.until) > steps_until("talk") else 0)
    state.mkdir(parents=True, exist_ok=True)
    c = Config(vocab=words.size)
    model, average, optimisers, step = load_or_start(words, c, state, args.source)
    path = state / "language.pt"
    seen_tower, mark, spent, sums, began = 0.0, time.time(), time.process_time(), defaultdict(list), step
    kept = mark
    while step < steps_until(args.until):
        stage, (since, steps) = stage_at(step), schedule(step)
        if stage.anew and since == 0:
            model.load_state_dict(average.state_dict())
            optimisers = make_optimisers(decoder_parameters(model), stage.rate)
        if stage.sees_tower and (seen_tower == 0.0 or step % 100 == 0):
            if (changed := (state / "vision.pt").stat().st_mtime) != seen_tower:
                load_tower(model, state / "vision.pt")
                seen_tower = changed
        rng = np.random.default_rng([args.seed, 77, step])
        low, high = stage.objects
        seen = stage.sees_tower and step % 4 != 0
        drawing = SEEN if seen else PLAIN
        sample = lambda: sample_scene(rng, sprites, c.image_size, int(rng.integers(low, high + 1)), repeat=REPEAT, drawing=drawing)
        scenes = [sample() for _ in range(args.batch)]
        batch = text_batch(rng, words, scenes, stage.mix, args.talks)
        features = tower_features(rng, model, sprites, scenes, keep=None if step % 8 == 1 else 56) if seen else oracle_features(rng, c, scenes)
        rows = make_rows(c, batch.positions, batch.turns, features.shape[1])
        rows.inside = []
        logits = model.lm_head(model.decode(features, batch.ids, rows))
        loss, stats = answer_loss(words, logits, batch), answer_score(words, logits, batch)
        reading = box_reading_loss(words, rows.inside[1], batch.ids)
        stats["reading"] = reading.item()
        (loss + args.reading * reading).backward()
        set_rate(optimisers, rate_at(since, steps, stage.rate))
        for o in optimisers:
            o.step()
            o.zero_grad()
        update_average(average, model, step, keep=0.99)
        step += 1
        for key, value in {"loss": loss.item(), **stats}.items():
            sums[("~" if stage.sees_tower and not seen else "") + key].append(value)
        if step % 100 == 0:
            m = " ".join(f"{k} {np.mean(v):.1f}" if k.endswith("#") else f"{k} {np.mean(v):.3f}" for k, v in sums.items())
            rate = (step - began) * args.batch / (time.time() - mark)
            cpu = (time.process_time() - spent) / (step - began)
            print(f"{time.strftime('%H:%M:%S')} step {step} {m} {rate:.0f}/s {cpu:.2f} s/step", flush=True)
            mark, spent, sums, began = time.time(), time.process_time(), defaultdict(list), step
        if time.time() - kept > KEEP_EVERY or step == steps_until(args.until):
            own = lambda m: {k: v for k, v in m.state_dict().items() if is_decoders(k)}
            saved = {"model": own(model), "average": own(average), "step": step}
            saved["optimisers"] = [o.state_dict() for o in optimisers]
            torch.save(saved, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").rename(path)
            kept = time.time()


if __name__ == "__main__":
    main()
