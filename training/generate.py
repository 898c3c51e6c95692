"""Greedy answers, many questions over many images at once."""

import torch
from torch import Tensor

from language import EOS, Words
from model import CogVLM, make_rows


@torch.no_grad()
def answer(model: CogVLM, words: Words, features: Tensor, prompts: list[list[str]], limit: int = 96) -> list[list[str]]:
    """Patch features [B, P, H] and as many prompts for every image -> what the model says."""
    ids = answer_ids(model, words, features, [[words.encode(p) for p in row] for row in prompts], limit)
    return [[words.model.decode(said).strip() for said in row] for row in ids]


@torch.no_grad()
def answer_ids(model: CogVLM, words: Words, features: Tensor, prompts: list[list[list[int]]], limit: int = 96):
    """Same, ids to ids. Questions about one image are packed side by side, blind to each other."""
    asked = len(prompts[0])
    table = [[(i, 4 + at, n) for n, ids in enumerate(row) for at, i in enumerate(ids)] for row in prompts]
    last = [[sum(map(len, row[: n + 1])) - 1 for n in range(asked)] for row in prompts]
    longest = max(map(len, table))
    ids, positions, turns = torch.tensor([row + [(0, 4, -1)] * (longest - len(row)) for row in table]).unbind(-1)
    last = torch.tensor(last)
    rows = make_rows(model.config, positions, turns, features.shape[1])
    rows.cache = []
    hidden = model.decode(features, ids, rows).gather(1, last[..., None].expand(-1, -1, model.config.hidden))
    positions = positions.gather(1, last)
    own = torch.eye(asked, dtype=torch.bool).expand(len(prompts), -1, -1)
    mask = rows.text_mask[:, 0].gather(1, 2 + last[..., None].expand(-1, -1, rows.text_mask.shape[-1]))
    said: list[list[list[int]]] = [[[] for _ in row] for row in prompts]
    done = torch.zeros(len(prompts), asked, dtype=torch.bool)
    for _ in range(limit):
        next_ids = model.lm_head(hidden).argmax(-1)
        done |= next_ids == EOS
        if done.all():
            break
        for b, n in (~done).nonzero().tolist():
            said[b][n].append(int(next_ids[b, n]))
        positions, mask = positions + 1, torch.cat([mask, own], 2)
        hidden = model.extend(next_ids, positions, mask, rows.cache)
    return said
