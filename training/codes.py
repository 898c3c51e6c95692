"""The code in which the vision tower hands objects to the decoder.

Every channel of a patch's row has a meaning: which concept, where its box is, whether it is the
one patch that stands for its object, what the background looks like. The words of the vocabulary
are embedded in the same channels, so matching a word to a patch needs no discovery. This is
where both start; training may bend the code afterwards.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model import dirichlet
from world import BACKGROUNDS, CONCEPTS, PATTERNS

HIDDEN = 256
FREQUENCIES = 12
NAME = slice(0, 64)  # see `name_codes`
BOX = slice(64, 160)  # 24 channels for each of x0, y0, x1, y1
CENTRE, OBJECT, BACKGROUND = 160, 161, 162
COLOUR = slice(163, 163 + len(BACKGROUNDS))
PATTERN = slice(174, 174 + len(PATTERNS))
NUMBER = slice(180, 204)  # the value of a number token
FREE = slice(204, 256)  # everything else about words
# Patches only, in channels that are free for words: with them the decoder need not count by looking.
MOST = 8  # objects in a scene
COUNT = slice(206, 214)  # how many of its kind there are
RANK = slice(214, 222)  # which of them it is, from left to right
TOTAL = slice(222, 230)  # how many objects there are; on every patch

NAME_SIZE, BOX_SIZE, FLAG_SIZE, BACKGROUND_SIZE, COLOUR_SIZE = 2.5, 0.35, 1.0, 3.0, 0.7
assert len(CONCEPTS) <= 192 and len(BACKGROUNDS) <= 11


def name_codes(count: int) -> Tensor:
    """`count` <= 192 directions in 64 channels, [count, 64]: no two agree in more than an eighth.

    The first 64 are one channel each, the others two sets of 64 patterns of signs: Hadamard's, and Hadamard's times a
    bent function, which is what keeps the three sets equally far from each other.
    """
    bits = torch.arange(64)[:, None] >> torch.arange(6) & 1
    parity = lambda n: 1.0 - 2.0 * (n % 2)
    hadamard = parity(bits @ bits.T) / 8
    bent = parity((bits[:, 0::2] * bits[:, 1::2]).sum(1))
    return torch.cat([torch.eye(64), hadamard, hadamard * bent])[:count]


NAMES = name_codes(len(CONCEPTS))


@dataclass
class Numbers:
    """Of every patch, [...]: how many of its kind there are and which of them it shows (0 = it shows none), and how many objects."""

    count: Tensor
    rank: Tensor
    total: Tensor


def object_rows(concept: Tensor, box: Tensor, centre: Tensor, background: Tensor, pattern: Tensor, numbers: Numbers) -> Tensor:
    """[...] concept (-1 = background patch), [..., 4] box in [0, 1), [...] centre flag -> [..., HIDDEN]."""
    rows = torch.zeros(*concept.shape, HIDDEN, device=concept.device)
    is_object = concept >= 0
    rows[..., NAME] = NAMES[concept.clamp(0, len(NAMES) - 1)] * NAME_SIZE * (is_object & (concept < len(NAMES)))[..., None]
    rows[..., BOX] = dirichlet(box, FREQUENCIES).flatten(-2) * BOX_SIZE * is_object[..., None]
    rows[..., CENTRE] = centre.float() * FLAG_SIZE
    rows[..., OBJECT] = is_object.float() * FLAG_SIZE
    rows[..., BACKGROUND] = (~is_object).float() * BACKGROUND_SIZE
    rows[..., COLOUR] = F.one_hot(background, len(BACKGROUNDS)) * COLOUR_SIZE
    rows[..., PATTERN] = F.one_hot(pattern, len(PATTERNS)) * COLOUR_SIZE
    for channels, number in ((COUNT, numbers.count), (RANK, numbers.rank), (TOTAL, numbers.total)):
        rows[..., channels] = F.one_hot(number, MOST + 1)[..., 1:] * FLAG_SIZE
    return rows


def kind_numbers(concepts: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """[B, objects] concepts (-1 = none) and their boxes [B, objects, 4] -> how many of each one's kind, and which of them it is."""
    there = concepts >= 0
    alike = (concepts[:, :, None] == concepts[:, None]) & there[:, None]
    before = boxes[..., 0] * 1000 + boxes[..., 1]
    ahead = alike & (before[:, None] < before[:, :, None])
    return alike.sum(-1) * there, (1 + ahead.sum(-1)) * there


def move_to(device) -> None:
    """The tables of this module, for a trainer on another device than the CPU."""
    global NAMES, _GRID, _GRID_CODES
    NAMES, _GRID, _GRID_CODES = (table.to(device) for table in (NAMES, _GRID, _GRID_CODES))


def name_scores(rows: Tensor) -> Tensor:
    """How much of each concept's direction is in a row: [..., concepts], 1 where it is written in full."""
    return rows[..., NAME] @ NAMES.T / NAME_SIZE


def number_rows(values: Tensor) -> Tensor:
    """Code of a number token: the same for every coordinate, in its own channels."""
    rows = torch.zeros(*values.shape, HIDDEN)
    rows[..., NUMBER] = dirichlet(values, FREQUENCIES)
    return rows


_GRID = torch.arange(0, 1, 1 / 168)
_GRID_CODES = dirichlet(_GRID, FREQUENCIES)


def box_logits(rows: Tensor) -> Tensor:
    """How well every place of a fine grid explains each of the four coordinates: [..., 4, grid]."""
    code = rows[..., BOX].unflatten(-1, (4, 2 * FREQUENCIES)) / BOX_SIZE
    return code @ _GRID_CODES.T


def read_boxes(rows: Tensor) -> Tensor:
    """The boxes [..., 4] whose code is nearest."""
    return _GRID[box_logits(rows).argmax(-1)]


def box_loss(rows: Tensor, boxes: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of each coordinate over the grid; a near miss is a small mistake. `weight` [...] says which rows count."""
    near = torch.exp(-0.5 * ((_GRID - boxes[..., None]) / 0.012).square())
    loss = -(near / near.sum(-1, keepdim=True) * box_logits(rows).log_softmax(-1)).sum(-1).mean(-1)
    return weighted_mean(loss, weight)


def number_loss(rows: Tensor, numbers: Numbers, weight: Tensor) -> Tensor:
    """Cross-entropy of the three numbers, each over 1 to MOST; the total counts on every patch."""

    def loss(channels: slice, number: Tensor) -> Tensor:
        return -(6 * rows[..., channels]).log_softmax(-1).gather(-1, (number - 1).clamp(min=0)[..., None])[..., 0]

    own = loss(COUNT, numbers.count) + loss(RANK, numbers.rank)
    return weighted_mean(own, weight) + 0.5 * loss(TOTAL, numbers.total).mean()


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """The mean of `values` [...], each as often as `weight` [...] says; 0 if all weigh nothing."""
    weight = weight.float()
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
