"""The code in which the vision tower hands objects to the decoder.

Every channel of a patch's row has a meaning: which concept, where its box is, whether the
object's centre lies here, what the background looks like. The words of the vocabulary are
embedded in the same channels, so matching a word to a patch needs no discovery. This is
where both start; training may bend the code afterwards.
"""

import torch
from torch import Tensor

from model import dirichlet
from scenes import BACKGROUNDS, CONCEPTS, PATTERNS

HIDDEN = 256
FREQUENCIES = 12
NAME = slice(0, 64)  # one channel a concept
BOX = slice(64, 160)  # 24 channels for each of x0, y0, x1, y1
CENTRE, OBJECT, BACKGROUND = 160, 161, 162
COLOUR = slice(163, 163 + len(BACKGROUNDS))
PATTERN = slice(174, 174 + len(PATTERNS))
NUMBER = slice(180, 204)  # the value of a number token
FREE = slice(204, 256)  # everything else about words

NAME_SIZE, BOX_SIZE, FLAG_SIZE, BACKGROUND_SIZE, COLOUR_SIZE = 2.5, 0.35, 1.0, 3.0, 0.7
assert len(CONCEPTS) == 64 and len(BACKGROUNDS) <= 11


def object_rows(concept: Tensor, box: Tensor, centre: Tensor, background: Tensor, pattern: Tensor) -> Tensor:
    """[...] concept (-1 = background patch), [..., 4] box in [0, 1), [...] centre flag -> [..., HIDDEN]."""
    rows = torch.zeros(*concept.shape, HIDDEN)
    is_object = concept >= 0
    name = torch.nn.functional.one_hot(concept.clamp(min=0), 64) * NAME_SIZE
    rows[..., NAME] = name * is_object[..., None]
    rows[..., BOX] = dirichlet(box, FREQUENCIES).flatten(-2) * BOX_SIZE * is_object[..., None]
    rows[..., CENTRE] = centre.float() * FLAG_SIZE
    rows[..., OBJECT] = is_object.float() * FLAG_SIZE
    rows[..., BACKGROUND] = (~is_object).float() * BACKGROUND_SIZE
    rows[..., COLOUR] = torch.nn.functional.one_hot(background, len(BACKGROUNDS)) * COLOUR_SIZE
    rows[..., PATTERN] = torch.nn.functional.one_hot(pattern, len(PATTERNS)) * COLOUR_SIZE
    return rows


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
