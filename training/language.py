"""Batches for the decoder: packed conversations, their loss masks, and the features they look at."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor

import codes
import turns
from model import Config, dirichlet
from scenes import CONCEPTS, MODEL

EOS = 2
TOKENIZER = MODEL / "tokenizer.model"


class Words:
    """The tokenizer, and which tokens are three-digit numbers."""

    def __init__(self, path=TOKENIZER):
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = self.model.vocab_size()
        self.numbers = torch.tensor([self.model.piece_to_id(f"{n:03d}") for n in range(1000)])
        self.value = torch.full((self.size,), -1)
        self.value[self.numbers] = torch.arange(1000)
        self.list_ends = torch.tensor([self.model.piece_to_id(p) for p in ("▁and", ".")])
        self.box_end = self.model.piece_to_id("]]")

    def encode(self, text: str) -> list[int]:
        return self.model.encode(text)

    def token_of(self, word: str) -> int:
        return self.model.piece_to_id(word if re.fullmatch(r"\d+", word) else "▁" + word)


def encode_conversation(words: Words, talk) -> tuple[list[int], list[int]]:
    """Ids of the whole conversation, and what each row should say next (-1: nothing)."""
    text, spans = "", []
    for i, (question, answer) in enumerate(talk):
        text += ("\n" if i else "") + f"Question: {question} Answer:"
        begin = len(words.encode(text))
        text += " " + answer
        spans.append((begin, len(words.encode(text))))
    ids = words.encode(text)
    targets = [-1] * len(ids)
    for begin, end in spans:
        targets[begin - 1 : end] = ids[begin:end] + [EOS]
    return ids, targets


def free_choices(words: Words, scene, ids: list[int], targets: list[int]) -> list[list[int]]:
    """For each row of one caption: every token that would be as right as the one in `targets`."""
    token = lambda word, first: words.token_of(word.capitalize() if first else word)
    left, first, choices = turns.listing(scene), True, [[t] for t in targets]
    for at in range(len(ids) - 1):
        word, noun = targets[at], targets[at + 1]
        said = [p for p in left if token(p[0], first) == word and token(p[1], False) == noun]
        if said:
            next_up = [p for p in left if p[2] == max(n for _, _, n in left)]
            choices[at] = sorted({token(p[0], first) for p in next_up})
            choices[at + 1] = sorted({token(p[1], False) for p in next_up if token(p[0], first) == word})
            left.remove(said[0])
            first = False
    return choices


@dataclass
class TextBatch:
    ids: Tensor
    targets: Tensor
    kinds: Tensor
    positions: Tensor
    turns: Tensor
    choices: Tensor  # [B, T, CHOICES], -1 where there are fewer


CHOICES = 6
LISTS = ("caption", "grounded")
ENDING = 0.15  # weight of the words that end a list, against 1 for all others: what is left out is never told, what is told too much shows


def text_batch(rng, words: Words, scenes, mix, talks: int) -> TextBatch:
    """`talks` conversations a scene, side by side, each at positions 4, 5, ... and blind to the others."""
    names, rows = list(turns.KINDS), []
    for scene in scenes:
        row = []
        for n in range(talks):
            talk, kinds = turns.conversation(rng, scene, mix)
            ids, targets = encode_conversation(words, talk)
            kind = names.index(kinds[-1]) if len(kinds) == 1 else len(names)
            listed = len(kinds) == 1 and kinds[0] in LISTS
            choices = free_choices(words, scene, ids, targets) if listed else [[t] for t in targets]
            padded = [(c + [-1] * CHOICES)[:CHOICES] for c in choices]
            row += [(i, t, kind, 4 + at, n, *c) for at, (i, t, c) in enumerate(zip(ids, targets, padded))]
        rows.append(row)
    longest = max(map(len, rows))
    nothing = (0, -1, -1, 4, -1, *[-1] * CHOICES)
    table = torch.tensor([row + [nothing] * (longest - len(row)) for row in rows])
    return TextBatch(*table[..., :5].unbind(-1), table[..., 5:])


def oracle_features(rng, c: Config, scenes) -> Tensor:
    """What the tower would write for these scenes, with its kinds of error, in few rows and any order."""
    concept, box, centre, noise = [], [], [], []
    count = max(sum(min(4, 1 + area(o) // 400) for o in s["objects"]) for s in scenes) + 4
    for scene in scenes:
        rows = []
        for o in scene["objects"]:
            near = np.array(o["box"]) / scene["size"] + rng.normal(0, 0.006, 4)
            for copy in range(int(rng.integers(1, 2 + min(3, area(o) // 400)))):
                said = o["concept"] if copy == 0 or rng.random() < 0.95 else int(rng.integers(len(CONCEPTS)))
                flag = 1.0 if copy == 0 else max(0, rng.normal(0, 0.15))
                rows.append((said, near + rng.normal(0, 0.006, 4), flag))
        rows += [(-1, np.zeros(4), 0.0)] * (count - len(rows))
        rows = [rows[i] for i in rng.permutation(count)]
        concept.append([r[0] for r in rows])
        box.append(np.stack([r[1] for r in rows]))
        centre.append([r[2] for r in rows])
    about = lambda key: torch.tensor([s[key] for s in scenes])[:, None].expand(-1, count)
    features = codes.object_rows(
        torch.tensor(concept), torch.from_numpy(np.stack(box)).float(), torch.tensor(centre), about("background"), about("pattern")
    )
    size = torch.from_numpy(rng.uniform(0.8, 1.1, (*features.shape[:2], 1))).float()
    return features * size + 0.08 * torch.randn_like(features)


def area(item) -> int:
    x0, y0, x1, y1 = item["box"]
    return (x1 - x0) * (y1 - y0)


def answer_loss(words: Words, model, hidden: Tensor, batch: TextBatch) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the answers. Any object not yet told is right in a list; a number earns credit for coming close."""
    told = batch.targets >= 0
    targets, kinds = batch.targets[told], batch.kinds[told]
    logits = model.lm_head(hidden[told])
    value = words.value[targets]
    is_number = value >= 0
    log_p = F.log_softmax(logits, -1)
    choices = batch.choices[told]
    loss = -log_p.gather(1, choices.clamp(min=0)).masked_fill(choices < 0, -torch.inf).logsumexp(-1)
    near = torch.exp(-0.5 * ((torch.arange(1000) - value[is_number, None]) / 8).square())
    near /= near.sum(-1, keepdim=True)
    loss = loss.index_put((is_number,), -(near * log_p[is_number][:, words.numbers]).sum(-1))
    in_list = torch.isin(kinds, torch.tensor([list(turns.KINDS).index(name) for name in LISTS]))
    weight = torch.where(in_list & torch.isin(targets, words.list_ends), ENDING, 1.0)
    said = logits.argmax(-1)
    right = (said[:, None] == choices).any(-1).float()
    stats = {}
    for k, name in enumerate(turns.KINDS):
        of_kind = kinds == k
        if (of_kind & ~is_number).any():
            stats[name] = right[of_kind & ~is_number].mean().item()
        if (of_kind & is_number).any():
            gap = (words.value[said[of_kind & is_number]] - value[of_kind & is_number]).abs().float()
            stats[name + "#"] = gap.clamp(max=500).mean().item()
    return (weight * loss).sum() / weight.sum(), stats


def box_reading_loss(words: Words, inside: Tensor, ids: Tensor) -> Tensor:
    """Training aid: a "]]" should hold, inside the decoder, the code of the box it closes."""
    closes = ids == words.box_end
    closes[:, :8] = False
    b, at = closes.nonzero(as_tuple=True)
    box = torch.stack([words.value[ids[b, at - back]] for back in (7, 5, 3, 1)], -1)
    whole = (box >= 0).all(-1)
    code = dirichlet((box[whole] + 0.5) / 1000, codes.FREQUENCIES).flatten(-2)
    return (inside[b[whole], at[whole]][:, codes.BOX] - code).square().mean()
