"""The paper's questions, asked again small: one small model, many short runs that differ in one thing, and their table.

    python questions.py --sprites DIR --state DIR            # all runs, about 90 minutes on one core; started again, it goes on
    python questions.py --state DIR --table                  # the table of README.md from what the runs wrote

STATE is a folder outside the repository. A base language model is trained on scenes told in words, and a tower for each
of two patch sizes on naming its patches; both are saved there. Every run then starts from those two and joins them.
A run writes its held-out loss as JSON lines to STATE/runs/NAME-SEED.jsonl; one that was cut short is run anew.
"""

import argparse
import copy
import functools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drawings import Sprites
from init import init_vision
from language import Words
from model import CogVLM, Config, Rows, Vision, inverse_frequencies, make_rows, rope_table
from optim import make_optimisers, rate_at, set_rate
from questions_world import CELLS, CHAT, GROUNDING, KINDS, KINDS_OF_THING, SIZE, TOLD, answer_words, labelled_patches, pictures, small_scene, talk_batch

BASE_RATE, RATE, WARM_UP, SCENES, HELD_OUT, EVERY = 2e-3, 3e-3, 40, 12, 64, 20
RANK = 3  # hidden / 32
WHOLE = 1 / 3  # of RATE for whole pretrained matrices: at the full rate the expert ended no better than none


@dataclass(frozen=True)
class Run:
    """One run. The defaults are the reference; each other run differs in one thing."""

    steps: int
    expert: str = "full"  # full, none (image rows use the frozen language weights), lora
    positions: str = "shared"  # shared, sequential
    full_mask: bool = False
    patch: int = 14
    kinds: tuple[str, ...] = KINDS
    tower_rate: float = 0.0  # in parts of the expert's
    language: bool = False  # whether the language model learns, too, at the expert's rate
    told: int = 0  # scenes told in words in each step, beside those shown


def plan(steps: int) -> dict[str, Run]:
    """What asks for steps to equal loss is run longer; the rest is set beside the reference at its own last step."""
    short = steps * 2 // 3
    return {
        "reference": Run(steps),
        "lora": Run(steps * 2, expert="lora"),
        "none": Run(steps, expert="none"),
        "sequential-36": Run(short, positions="sequential"),
        "full-mask": Run(short, full_mask=True),
        "chat": Run(short, kinds=CHAT),
        "grounding": Run(short, kinds=GROUNDING),
        "unfrozen": Run(short, language=True),
        "unfrozen-text": Run(short, language=True, told=6),
        "tower-x1": Run(short, tower_rate=1.0),
        "tower-x0.1": Run(short, tower_rate=0.1),
        "shared-144": Run(short, patch=7),
        "sequential-144": Run(short, patch=7, positions="sequential"),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sprites")
    parser.add_argument("--state", required=True)
    parser.add_argument("--steps", type=int, default=480, help="of the reference")
    parser.add_argument("--base-steps", type=int, default=450)
    parser.add_argument("--tower-steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", help="a comma-separated list of runs")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    state = Path(args.state)
    if args.table:
        from questions_table import table

        print(table(state))
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.set_flush_denormal(True)
    (state / "runs").mkdir(parents=True, exist_ok=True)
    words, sprites = Words(), Sprites(args.sprites)
    base = train_base(state / "base.pt", words, args.base_steps)
    towers = {patch: train_tower(state / f"tower-{patch}.pt", sprites, patch, args.tower_steps) for patch in (14, 7)}
    wanted = args.only.split(",") if args.only else list(plan(1))
    start = lambda run, seed: starting_model(run, base, towers[run.patch], words, seed)
    if not (state / "times.json").exists():
        (state / "times.json").write_text(json.dumps(step_times(plan(args.steps), start, words, sprites)))
    for seed in range(1, args.seeds + 1):
        for name in wanted:
            path = state / "runs" / f"{name}-{seed}.jsonl"
            if not path.exists():
                train(plan(args.steps)[name], seed, start, words, sprites, path)


def config(words: Words, patch: int = 14) -> Config:
    return Config(image_size=SIZE, patch_size=patch, vit_width=96, vit_layers=4, vit_heads=8, vit_mlp=320,
                  hidden=96, layers=4, heads=4, mlp=192, vocab=words.size)  # fmt: skip


# ------------------------------------------------------------------ the base


def train_base(path: Path, words: Words, steps: int) -> dict[str, Tensor]:
    """The decoder's language half, on scenes told in words; it never meets an image row."""
    if path.exists():
        return torch.load(path)
    torch.manual_seed(0)
    model = CogVLM(config(words))
    for name, p in model.named_parameters():
        if p.ndim == 2 and "layers" in name:
            nn.init.normal_(p, std=p.shape[1] ** -0.5 * (0.4 if "dense" in name or "down_proj" in name else 0.8))
    nn.init.normal_(model.model.embed_tokens.weight, std=0.5)
    nn.init.normal_(model.lm_head.weight, std=0.02)
    start_matching(model)
    named = [(n, p) for n, p in model.named_parameters() if is_language(n)]
    optimisers, mark = make_optimisers(named, BASE_RATE), time.time()
    for step in range(steps):
        rng = np.random.default_rng([0, 1, step])
        losses, kinds = told_token_losses(model, rng, words, 16)
        losses.mean().backward()
        set_rate(optimisers, rate_at(step, steps, BASE_RATE))
        for o in optimisers:
            o.step()
            o.zero_grad()
        if (step + 1) % 50 == 0:
            by_kind = " ".join(f"{name} {losses[kinds == k].mean().item():.3f}" for k, name in enumerate(KINDS))
            print(f"base {step + 1} {by_kind} {time.time() - mark:.0f} s", flush=True)
    weights = {n: p.detach() for n, p in named}
    torch.save(weights, path)
    return weights


@torch.no_grad()
def start_matching(model: CogVLM) -> None:
    """Two heads start out as an induction circuit, which takes a small model long to find: one brings each row the word
    before it, one looks for the row whose word before is the own word. Without them the base kept naming any thing of
    the scene for more than 700 steps.

    Channels: 0 to 63 a word's own, 64 "I am a row", 65 to 88 the word before.
    """
    c, size = model.config, model.config.hidden // model.config.heads
    embed = model.model.embed_tokens.weight
    embed[:, 64:], embed[:, 64] = 0, 1.5
    layers = [layer.self_attn for layer in model.model.layers[:2]]
    before, match = (a.language_expert_query_key_value.weight.view(3, c.heads, size, -1) for a in layers)
    angle = inverse_frequencies(c)[: size // 6]  # fast ones: a step of one position matters
    real, imaginary = torch.arange(len(angle)), torch.arange(len(angle)) + size // 2
    before[:, 0] *= 0.1
    before[0, 0, real, 64] += 3
    before[1, 0, real, 64] += 3 * angle.cos()  # turned on by one step, so the row one step back fits best
    before[1, 0, imaginary, 64] += 3 * angle.sin()
    words = torch.randn(size, 64) / 8
    before[2, 0, :, :64] += words
    layers[0].language_expert_dense.weight[65 : 65 + size, :size] += torch.eye(size)
    slow = torch.cat([torch.arange(size // 4, size // 2), torch.arange(size * 3 // 4, size)])
    look = torch.randn(len(slow), size) * (2 / size**0.5)
    match[:2, 0] *= 0.1
    match[0, 0, slow, :64] += look @ words
    match[1, 0, slow, 65 : 65 + size] += look


def is_language(name: str) -> bool:
    return ".vision." not in name and "vision_expert" not in name and "vision_mlp" not in name


def train_tower(path: Path, sprites: Sprites, patch: int, steps: int) -> dict[str, Tensor]:
    """Names its patches and tells the edges of what they belong to, with two heads that are thrown away."""
    if path.exists():
        return torch.load(path)
    torch.manual_seed(0)
    c = config(Words(), patch)
    vision, things = Vision(c), len(KINDS_OF_THING) + 1
    init_vision(vision, c)
    head = nn.Linear(c.vit_width, things + 4 * (CELLS + 1))
    named = [(n, p) for n, p in vision.named_parameters() if n.startswith(("patch_embedding", "transformer"))]
    optimisers = make_optimisers([*named, *(("lm_head." + n, p) for n, p in head.named_parameters())], BASE_RATE)
    mark = time.time()
    for step in range(steps):
        rng = np.random.default_rng([0, 2, step])
        pixels, kinds, edges = labelled_patches(rng, sprites, 16, c.grid)
        name, edge = head(tower_rows(vision, pixels)).split([things, 4 * (CELLS + 1)], -1)
        mine = edges[..., 0] >= 0
        named_loss = F.cross_entropy(name.flatten(0, 1), kinds.flatten(), ignore_index=-1)
        loss = named_loss + F.cross_entropy(edge[mine].view(-1, CELLS + 1), edges[mine].flatten())
        loss.backward()
        set_rate(optimisers, rate_at(step, steps, BASE_RATE))
        for o in optimisers:
            o.step()
            o.zero_grad()
        if (step + 1) % 100 == 0:
            right = (name.argmax(-1) == kinds)[mine].float().mean().item()
            placed = (edge[mine].view(-1, CELLS + 1).argmax(-1) == edges[mine].flatten()).float().mean().item()
            print(f"tower {patch} {step + 1} loss {loss.item():.3f} named {right:.3f} edges {placed:.3f} {time.time() - mark:.0f} s", flush=True)
    weights = {n: p.detach() for n, p in named}
    torch.save(weights, path)
    return weights


def tower_rows(vision: Vision, pixels: Tensor) -> Tensor:
    x = vision.patch_embedding(pixels)
    for block in vision.transformer.layers:
        x = block(x)
    return x[:, 1:]


# --------------------------------------------------------------- one question


class LowRank(nn.Module):
    """A linear layer that shares the language expert's weight and adds B A to it: an expert of few parameters."""

    def __init__(self, shared: nn.Linear, rank: int):
        super().__init__()
        self.shared = shared
        self.lora_A = nn.Linear(shared.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, shared.out_features, bias=False)
        nn.init.normal_(self.lora_A.weight, std=shared.in_features**-0.5)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(x) + self.lora_B(self.lora_A(x))


def starting_model(run: Run, base, tower, words: Words, seed: int) -> tuple[CogVLM, list[dict]]:
    """The base and the tower, joined by a new adapter and an expert; and what learns, with its share of the rate."""
    torch.manual_seed(seed)
    c = config(words, run.patch)
    model = CogVLM(c)
    init_vision(model.model.vision, c)
    model.load_state_dict(base, strict=False)
    model.model.vision.load_state_dict(tower, strict=False)
    language = [p for n, p in model.named_parameters() if is_language(n)]
    for p in model.parameters():
        p.requires_grad_(False)
    vision = model.model.vision
    learns = [{"params": [vision.boi, vision.eoi, *vision.linear_proj.parameters()], "scale": 1.0}]
    learns.append({"params": make_expert(model, run.expert), "scale": 1.0 if run.expert == "lora" else WHOLE})
    if run.tower_rate:
        learns.append({"params": [*vision.patch_embedding.parameters(), *vision.transformer.parameters()], "scale": run.tower_rate * WHOLE})
    if run.language:
        learns.append({"params": language, "scale": WHOLE})
    learns = [g for g in learns if g["params"]]
    for g in learns:
        for p in g["params"]:
            p.requires_grad_(True)
    return model, learns


def make_expert(model: CogVLM, kind: str) -> list[nn.Parameter]:
    """Turns the vision halves into copies of the language halves (as the paper starts them), into those themselves, or
    into those with low-rank additions; returns the parameters that are the expert's own."""
    own: list[nn.Parameter] = []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        pairs = [(attention, "vision_expert_" + n, getattr(attention, "language_expert_" + n)) for n in ("query_key_value", "dense")]
        pairs += [(mlp.vision_mlp, n, getattr(mlp.language_mlp, n)) for n in ("gate_proj", "up_proj", "down_proj")]
        for holder, name, language in pairs:
            expert = {"full": lambda: copy.deepcopy(language), "none": lambda: language, "lora": lambda: LowRank(language, RANK)}[kind]()
            setattr(holder, name, expert)
            if kind != "none":
                own += [p for n, p in expert.named_parameters() if not n.startswith("shared")]
    return own


def shown_loss(model: CogVLM, run: Run, rng, words, sprites, scenes) -> tuple[Tensor, Tensor]:
    """Loss of each answer token, and its kind of question."""
    batch = talk_batch(rng, words, scenes, run.kinds)
    with torch.set_grad_enabled(torch.is_grad_enabled() and run.tower_rate > 0):
        seen = tower_rows(model.model.vision, pictures(rng, sprites, scenes))
    features = model.model.vision.linear_proj(seen)
    return token_losses(model, batch, model.decode(features, batch.ids, rows_of(model.config, batch, features.shape[1], run)))


def rows_of(c: Config, batch, patches: int, run: Run) -> Rows:
    rows = make_rows(c, batch.positions, batch.turns, patches)
    if run.positions == "sequential":
        late = patches - 1
        edge = torch.tensor([0, 3 + late]).expand(len(batch.ids), 2)
        rows.image_rope = rope_table(c, torch.arange(1, patches + 2))
        rows.text_rope = rope_table(c, torch.cat([edge, batch.positions + late], 1)[:, None])
    if run.full_mask:
        rows.image_mask = torch.ones_like(rows.image_mask)
    return rows


def told_token_losses(model: CogVLM, rng, words: Words, count: int) -> tuple[Tensor, Tensor]:
    """The same questions about scenes in words: no image row is seen, and the sentence by every turn."""
    c = model.config
    batch = talk_batch(rng, words, [small_scene(rng) for _ in range(count)], told=True)
    rows = make_rows(c, batch.positions, batch.turns, 0)
    t = batch.ids.shape[1]
    rows.text_mask[:, :, 2:, [0, 2]] = False  # boi and eoi
    after = (batch.turns >= 0)[:, None, :, None] & (batch.turns == TOLD)[:, None, None, :]
    rows.text_mask[:, :, 2:, 3:] |= after & torch.ones(t, t, dtype=torch.bool).tril()
    return token_losses(model, batch, model.decode(torch.zeros(count, 0, c.hidden), batch.ids, rows))


def token_losses(model: CogVLM, batch, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """In a caption every thing not yet told is right."""
    told = batch.targets >= 0
    said = said_words()
    log_p = F.log_softmax(hidden[told] @ model.lm_head.weight[said].T, -1)
    choices = batch.choices[told]
    choices = torch.where(choices < 0, choices, torch.searchsorted(said, choices))
    loss = -log_p.gather(1, choices.clamp(min=0)).masked_fill(choices < 0, -torch.inf).logsumexp(-1)
    return loss, batch.kinds[told]


@functools.cache
def said_words() -> Tensor:
    return answer_words(Words())


# ----------------------------------------------------------------- the runs


def train(run: Run, seed: int, start, words: Words, sprites: Sprites, path: Path) -> None:
    model, learns = start(run, seed)
    optimiser = torch.optim.AdamW(learns, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    count = lambda params: sum(p.numel() for p in params)
    lines = [{"learns": count(p for p in model.parameters() if p.requires_grad), "parameters": count(model.parameters())}]
    began = time.time()
    for step in range(run.steps + 1):
        if step % EVERY == 0:
            lines.append({"step": step, **measure(model, run, words, sprites), "seconds": round(time.time() - began, 1)})
            if step % 100 == 0:
                print(path.stem, json.dumps(lines[-1]), flush=True)
        if step == run.steps:
            break
        set_rate([optimiser], RATE * min(1.0, (step + 1) / WARM_UP))
        advance(model, run, optimiser, np.random.default_rng([seed, 3, step]), words, sprites)
    path.with_suffix(".tmp").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path.with_suffix(".tmp").rename(path)


def advance(model: CogVLM, run: Run, optimiser, rng, words: Words, sprites: Sprites) -> None:
    loss = shown_loss(model, run, rng, words, sprites, [small_scene(rng) for _ in range(SCENES)])[0].mean()
    if run.told:
        loss = loss + told_token_losses(model, rng, words, run.told)[0].mean()
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
    optimiser.step()
    optimiser.zero_grad()


@torch.no_grad()
def measure(model: CogVLM, run: Run, words: Words, sprites: Sprites) -> dict[str, float]:
    """Nats an answer token on fixed scenes no run has seen: seen, by kind of question, and told in words."""
    losses, kinds, told = [], [], []
    for n in range(HELD_OUT // 32):
        rng = np.random.default_rng([9, 9, n])
        everything = Run(0, positions=run.positions, full_mask=run.full_mask)
        loss, kind = shown_loss(model, everything, rng, words, sprites, [small_scene(rng) for _ in range(32)])
        losses.append(loss)
        kinds.append(kind)
    for n in range(2 if run.language else 0):
        told.append(told_token_losses(model, np.random.default_rng([9, 8, n]), words, 32)[0])
    loss, kind = torch.cat(losses), torch.cat(kinds)
    by_kind = {name: loss[kind == k].mean().item() for k, name in enumerate(KINDS)}
    mean = lambda names: sum(by_kind[n] for n in names) / len(names)
    out = {"loss": mean(KINDS), "chat": mean(CHAT), "grounding": mean(GROUNDING), **by_kind}
    if told:
        out["told"] = torch.cat(told).mean().item()
    return {k: round(v, 4) for k, v in out.items()}


def step_times(runs: dict[str, Run], start, words, sprites) -> dict[str, float]:
    """Milliseconds of processor time a step, the middle of 14 in turns: others share the machine."""
    names = ["reference", "lora", "none", "sequential-36", "shared-144", "unfrozen", "unfrozen-text", "tower-x1"]
    models = {n: start(runs[n], 1) for n in names}
    optimisers = {n: torch.optim.AdamW(models[n][1], lr=RATE) for n in names}
    times: dict[str, list[float]] = {n: [] for n in names}
    for turn in range(16):
        for n in names:
            began = time.thread_time()
            advance(models[n][0], runs[n], optimisers[n], np.random.default_rng([5, turn]), words, sprites)
            times[n].append(1000 * (time.thread_time() - began))
    return {n: float(np.median(t[2:])) for n, t in times.items()}


if __name__ == "__main__":
    main()
