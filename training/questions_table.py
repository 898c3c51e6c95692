"""The tables of README.md from what questions.py wrote. Knows no model and needs no PyTorch.

Every number is given for each seed; where the paper measures which of two is better, its sign is set beside ours, in
brackets where it only chooses or argues.
"""

import json
from pathlib import Path
from typing import Callable

ARMS = {
    "reference": "full expert, shared positions, causal, all kinds, tower and language model frozen",
    "lora": "expert of rank hidden/32",
    "none": "no expert, language model frozen",
    "sequential-36": "sequential positions, 36 patches",
    "shared-144": "shared position, 144 patches",
    "sequential-144": "sequential positions, 144 patches",
    "full-mask": "full mask over the image",
    "chat": "chat model of a pair",
    "grounding": "grounding model of a pair",
    "unfrozen": "language model learns, images only",
    "unfrozen-text": "language model learns, text mixed in",
    "tower-x1": "tower learns at the expert's rate",
    "tower-x0.1": "tower learns at a tenth",
}
CLOSE = 0.005  # nats; two runs that differ in nothing but their seed differ by about this much


class Curve:
    """One run: what it counted, and its held-out losses by step."""

    def __init__(self, path: Path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.learns, self.points = lines[0]["learns"], lines[1:]
        self.steps = self.points[-1]["step"]

    def at(self, step: int, key: str = "loss") -> float:
        """The mean of the three measurements around a step: one alone jumps by a hundredth."""
        near = sorted(self.points, key=lambda p: abs(p["step"] - step))[:3]
        return sum(p[key] for p in near) / len(near)

    def end(self, key: str = "loss") -> float:
        return sum(p[key] for p in self.points[-3:]) / 3

    def steps_to(self, loss: float) -> float | None:
        """Where the line between two measurements first comes down to a loss."""
        for a, b in zip(self.points, self.points[1:]):
            if b["loss"] <= loss:
                return a["step"] + (b["step"] - a["step"]) * (a["loss"] - loss) / (a["loss"] - b["loss"])
        return None


def table(state: Path) -> str:
    runs = {name: curves(state, name) for name in ARMS}
    times = json.loads((state / "times.json").read_text())
    return arms_table(runs, times) + "\n" + signs_table(runs, times)


def curves(state: Path, name: str) -> list[Curve]:
    return [Curve(path) for path in sorted((state / "runs").glob(f"{name}-[0-9].jsonl"))]


def arms_table(runs: dict[str, list[Curve]], times: dict[str, float]) -> str:
    rows = ["| run | learns | ms a step | steps | loss | chat | grounding |", "|---|---|---|---|---|---|---|"]
    for name, what in ARMS.items():
        if not runs[name]:
            continue
        first = runs[name][0]
        ends = [" / ".join(f"{c.end(key):.3f}" for c in runs[name]) for key in ("loss", "chat", "grounding")]
        ms = f"{times[name]:.0f}" if name in times else ""
        rows.append(f"| {what} | {first.learns:,} | {ms} | {first.steps} | " + " | ".join(ends) + " |")
    return "\n".join(rows) + "\n"


def signs_table(runs: dict[str, list[Curve]], times: dict[str, float]) -> str:
    """Each line: what is compared, what the paper has, the number for each seed, and whether their signs agree."""
    rows = ["| question | measure | the paper | here, by seed | agrees |", "|---|---|---|---|---|"]

    def line(question: str, measure: str, paper: str, value: Callable[..., float | None], *names: str, above: float = 0.0, form="{:+.3f}"):
        values = [value(*pair) for pair in zip(*(runs[n] for n in names))]
        said = [form.format(v) if v is not None else "not reached" for v in values]
        verdicts = {"yes" if v is None or v > above + CLOSE else "no" if v < above - CLOSE else "too close" for v in values}
        agrees = "" if paper == "no figure" or not values else verdicts.pop() if len(verdicts) == 1 else "seeds differ"
        rows.append(f"| {question} | {measure} | {paper} | {' / '.join(said)} | {agrees} |")

    more = lambda key: lambda a, b: a.at(min(a.steps, b.steps), key) - b.at(min(a.steps, b.steps), key)
    for share in (4, 2, 1):
        ratio = lambda low, full: quotient(low.steps_to(full.at(full.steps // share)), full.steps_to(full.at(full.steps // share)))
        line("expert", f"steps of low rank / of full, to the loss of full at {fraction(share)} its steps", "3.7", ratio, "lora", "reference", above=2, form="{:.2f}")
    rows.append(f"| expert | step time of low rank / of full | nearly 1 | {times['lora'] / times['reference']:.2f} | |")
    line("expert", "loss of none minus full, equal steps", "+", more("loss"), "none", "reference")
    line("expert", "loss of low rank minus full, equal steps", "+", more("loss"), "lora", "reference")
    line("positions", "loss of sequential minus shared, 36 patches", "(+)", more("loss"), "sequential-36", "reference")
    line("positions", "loss of sequential minus shared, 144 patches", "(+)", more("loss"), "sequential-144", "shared-144")
    line("mask", "loss of full minus causal", "+", more("loss"), "full-mask", "reference")
    for key in ("chat", "grounding"):
        line("one or two", f"{key} loss of one model minus its own of a pair, equal steps each", "(+)", more(key), "reference", key)
        line("one or two", f"the same, the pair's steps halved", "no figure", lambda one, own: one.at(own.steps, key) - own.at(own.steps // 2, key), "reference", key)
    before = lambda run: run.end("told") - run.points[0]["told"]
    line("language model", "text loss after minus before, learning, images only", "(+)", before, "unfrozen")
    line("language model", "text loss after minus before, learning, text mixed in", "no figure", before, "unfrozen-text")
    line("language model", "loss of frozen minus learning with text", "no figure", more("loss"), "reference", "unfrozen-text")
    line("tower", "loss at the expert's rate minus at a tenth of it", "(+)", more("loss"), "tower-x1", "tower-x0.1")
    line("tower", "loss frozen minus at a tenth", "no figure", more("loss"), "reference", "tower-x0.1")
    return "\n".join(rows) + "\n"


def quotient(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def fraction(share: int) -> str:
    return {1: "all", 2: "half", 4: "a quarter of"}[share]
