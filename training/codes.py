"""The code in which the vision tower hands objects to the decoder.

Every channel of a patch's row has a meaning: which concept, where its box is, whether it is the
one patch that stands for its object, what the background looks like. The words of the vocabulary
are embedded in the same channels, so matching a word to a patch needs no discovery. This is
where both start; training may bend the code afterwards.
"""

import torch
from torch import Tensor

from model import dirichlet
from scenes import BACKGROUNDS, CONCEPTS, PATTERNS

HIDDEN = 256
FREQUENCIES = 12
NAME = slice(0, 64)  # see `name_codes`
BOX = slice(64, 160)  # 24 channels for each of x0, y0, x1, y1
CENTRE, OBJECT, BACKGROUND = 160, 161, 162
COLOUR = slice(163, 163 + len(BACKGROUNDS))
PATTERN = slice(174, 174 + len(PATTERNS))
NUMBER = slice(180, 204)  # the value of a number token
FREE = slice(204, 256)  # everything else about words

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


def object_rows(concept: Tensor, box: Tensor, centre: Tensor, background: Tensor, pattern: Tensor) -> Tensor:
    """[...] concept (-1 = background patch), [..., 4] box in [0, 1), [...] centre flag -> [..., HIDDEN]."""
    rows = torch.zeros(*concept.shape, HIDDEN)
    is_object = concept >= 0
    rows[..., NAME] = NAMES[concept.clamp(min=0)] * NAME_SIZE * is_object[..., None]
    rows[..., BOX] = dirichlet(box, FREQUENCIES).flatten(-2) * BOX_SIZE * is_object[..., None]
    rows[..., CENTRE] = centre.float() * FLAG_SIZE
    rows[..., OBJECT] = is_object.float() * FLAG_SIZE
    rows[..., BACKGROUND] = (~is_object).float() * BACKGROUND_SIZE
    rows[..., COLOUR] = torch.nn.functional.one_hot(background, len(BACKGROUNDS)) * COLOUR_SIZE
    rows[..., PATTERN] = torch.nn.functional.one_hot(pattern, len(PATTERNS)) * COLOUR_SIZE
    return rows


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


def box_loss(rows: Tensor, boxes: Tensor) -> Tensor:
    """Cross-entropy of each coordinate over the grid; a near miss is a small mistake."""
    near = torch.exp(-0.5 * ((_GRID - boxes[..., None]) / 0.012).square())
    return -(near / near.sum(-1, keepdim=True) * box_logits(rows).log_softmax(-1)).sum(-1).mean()
