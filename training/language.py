"""Batches for the decoder: packed conversations, their loss masks, and the features they look at."""

import re
from dataclasses import dataclass

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor

import codes
import turns
from model import Config, dirichlet
from world import CONCEPTS, MODEL

EOS = 2
LISTS = ("caption", "grounded")
TOKENIZER = MODEL / "tokenizer.model"


class Words:
    """The tokenizer, and which tokens are three-digit numbers."""

    def __init__(self, path=TOKENIZER):
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = self.model.vocab_size()
        self.known: dict[str, int] = {}
        self.numbers = torch.tensor([self.model.piece_to_id(f"{n:03d}") for n in range(1000)])
        self.value = torch.full((self.size,), -1)
        self.value[self.numbers] = torch.arange(1000)
        self.list_ends = torch.tensor([self.model.piece_to_id(p) for p in ("▁and", ".")])
        self.list_kinds = torch.tensor([list(turns.KINDS).index(name) for name in LISTS])
        self.box_end = self.model.piece_to_id("]]")

    def move_to(self, device) -> None:
        """The tables, not the tokenizer."""
        for name in ("value", "numbers", "list_ends", "list_kinds"):
            setattr(self, name, getattr(self, name).to(device))

    def encode(self, text: str) -> list[int]:
        return self.model.encode(text)

    def token_of(self, word: str) -> int:
        if word not in self.known:
            self.known[word] = self.model.piece_to_id(word if re.fullmatch(r"\d+", word) else "▁" + word)
        return self.known[word]


def encode_conversation(words: Words, talk) -> tuple[list[int], list[int]]:
    """Ids of the whole conversation, and what each row should say next (-1: nothing)."""
    text, spans, ids = "", [], []
    for i, (question, answer) in enumerate(talk):
        text += ("\n" if i else "") + f"Question: {question} Answer:"
        begin = len(words.encode(text))
        text += " " + answer
        ids = words.encode(text)
        spans.append((begin, len(ids)))
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


CHOICES = codes.MOST
ENDING = 0.15  # weight of the words that end a list, against 1 for all others: what is left out is never told, what is told too much shows
_NOTHING = (0, -1, -1, 4, -1, *[-1] * CHOICES)


def text_rows(rng, words: Words, scene, mix, talks: int, longest: int | None = None) -> list[tuple[int, ...]]:
    """`talks` conversations about one scene, side by side, each at positions 4, 5, ...; those that make it longer than `longest` rows are left out."""
    names, row = list(turns.KINDS), []
    for n in range(talks):
        talk, kinds = turns.conversation(rng, scene, mix)
        ids, targets = encode_conversation(words, talk)
        if longest is not None and len(row) + len(ids) > longest:
            continue
        kind = names.index(kinds[-1]) if len(kinds) == 1 else len(names)
        listed = len(kinds) == 1 and kinds[0] in LISTS
        choices = free_choices(words, scene, ids, targets) if listed else [[t] for t in targets]
        padded = [(c + [-1] * CHOICES)[:CHOICES] for c in choices]
        row += [(i, t, kind, 4 + at, n, *c) for at, (i, t, c) in enumerate(zip(ids, targets, padded))]
    return row


def padded(rows: list[list[tuple[int, ...]]], longest: int) -> np.ndarray:
    """[B, longest, 5 + CHOICES], as `split_batch` takes it."""
    return np.array([row + [_NOTHING] * (longest - len(row)) for row in rows])


def split_batch(table: Tensor) -> TextBatch:
    return TextBatch(*table[..., :5].unbind(-1), table[..., 5:])


def text_batch(rng, words: Words, scenes, mix, talks: int) -> TextBatch:
    """`talks` conversations a scene, blind to each other."""
    rows = [text_rows(rng, words, scene, mix, talks) for scene in scenes]
    return split_batch(torch.from_numpy(padded(rows, max(map(len, rows)))))


def oracle_features(rng, c: Config, scenes) -> Tensor:
    """What the tower would write for these scenes, with its kinds of error, in few rows and any order."""
    concept, box, centre, number = [], [], [], []
    count = max(sum(min(4, 1 + area(o) // 400) for o in s["objects"]) for s in scenes) + 4
    for scene in scenes:
        rows = []
        for o, of_kind in zip(scene["objects"], turns.numbers(scene)):
            near = np.array(o["box"]) / scene["size"] + rng.normal(0, 0.006, 4)
            for copy in range(int(rng.integers(1, 2 + min(3, area(o) // 400)))):
                said = o["concept"] if copy == 0 or rng.random() < 0.95 else int(rng.integers(len(CONCEPTS)))
                flag = 1.0 if copy == 0 else max(0, rng.normal(0, 0.15))
                rows.append((said, near + rng.normal(0, 0.006, 4), flag, of_kind))
        rows += [(-1, np.zeros(4), 0.0, (0, 0))] * (count - len(rows))
        rows = [rows[i] for i in rng.permutation(count)]
        concept.append([r[0] for r in rows])
        box.append(np.stack([r[1] for r in rows]))
        centre.append([r[2] for r in rows])
        number.append([r[3] for r in rows])
    about = lambda key: torch.tensor([s[key] for s in scenes])[:, None].expand(-1, count)
    numbers = codes.Numbers(*torch.tensor(number).unbind(-1), torch.tensor([len(s["objects"]) for s in scenes])[:, None].expand(-1, count))
    features = codes.object_rows(
        torch.tensor(concept), torch.from_numpy(np.stack(box)).float(), torch.tensor(centre), about("background"), about("pattern"), numbers
    )
    size = torch.from_numpy(rng.uniform(0.8, 1.1, (*features.shape[:2], 1))).float()
    return features * size + 0.08 * torch.randn_like(features)


def area(item) -> int:
    x0, y0, x1, y1 = item["box"]
    return (x1 - x0) * (y1 - y0)


def answer_loss(words: Words, logits: Tensor, batch: TextBatch) -> Tensor:
    """Cross-entropy of the answers, [B, T, vocabulary]. Any object not yet told is right in a list; a number earns credit for coming close."""
    log_p = F.log_softmax(logits.float(), -1)
    choices, targets, told = batch.choices, batch.targets.clamp(min=0), batch.targets >= 0
    value = words.value[targets]
    word = -log_p.gather(-1, choices.clamp(min=0)).masked_fill((choices < 0) & told[..., None], -torch.inf).logsumexp(-1)
    near = torch.exp(-0.5 * ((torch.arange(1000, device=value.device) - value[..., None]) / 8).square())
    number = -(near * log_p[..., words.numbers]).sum(-1) / near.sum(-1)
    in_list = torch.isin(batch.kinds, words.list_kinds)
    weight = torch.where(in_list & torch.isin(targets, words.list_ends), ENDING, 1.0)
    return codes.weighted_mean(torch.where(value >= 0, number, word), weight * told)


@torch.no_grad()
def answer_score(words: Words, logits: Tensor, batch: TextBatch) -> dict[str, float]:
    """Of each kind of question: the share of its words that are right; with a "#", how far its numbers are off."""
    said, stats = logits.argmax(-1), {}
    right = (said[..., None] == batch.choices).any(-1).float()
    is_number = words.value[batch.targets.clamp(min=0)] >= 0
    gap = (words.value[said] - words.value[batch.targets.clamp(min=0)]).abs().clamp(max=500).float()
    for k, name in enumerate(turns.KINDS):
        of_kind = (batch.kinds == k) & (batch.targets >= 0)
        if (of_kind & ~is_number).any():
            stats[name] = right[of_kind & ~is_number].mean().item()
        if (of_kind & is_number).any():
            stats[name + "#"] = gap[of_kind & is_number].mean().item()
    return stats


def box_reading_loss(words: Words, inside: Tensor, ids: Tensor) -> Tensor:
    """Training aid: a "]]" should hold, inside the decoder, the code of the box it closes."""
    box = torch.stack([words.value[ids.roll(back, 1)] for back in (7, 5, 3, 1)], -1)
    whole = (ids == words.box_end) & (box >= 0).all(-1)
    whole[:, :8] = False
    code = dirichlet((box + 0.5) / 1000, codes.FREQUENCIES).flatten(-2)
    return codes.weighted_mean((inside[..., codes.BOX] - code).square().mean(-1), whole)
