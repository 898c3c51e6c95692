"""Draws many scenes at once, on any device, as `scenes.draw` draws one; the labels come out of the same pass.

An icon is resized by two products, one a side, whose factors are PIL's bicubic filter. Knows tables, not descriptions.
"""

import multiprocessing
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import styles
from codes import MOST
from drawings import Sprites
from scenes import MEAN, STD
from train_vision import Labels, label
from world import BACKGROUNDS, CONCEPTS, PATTERNS

FIELDS = 8  # of an object: icon, concept (-1 = none), x0, y0, x1, y1, flipped, recoloured
_LUMA = torch.from_numpy(styles.LUMA)


@dataclass
class Atlas:
    """All icons, [N, 4, side, side] bytes, premultiplied, each in the upper left corner, and their widths and heights."""

    icons: Tensor
    widths: Tensor
    heights: Tensor

    def to(self, device) -> "Atlas":
        return Atlas(self.icons.to(device), self.widths.to(device), self.heights.to(device))

    def copy_from(self, other: "Atlas") -> None:
        for mine, theirs in ((self.icons, other.icons), (self.widths, other.widths), (self.heights, other.heights)):
            mine.copy_(theirs)


def fill_atlas(atlas: Atlas, sprites: Sprites) -> list[list[int]]:
    """Into memory that processes share, which has room. The number of the first drawing of each icon, [style][concept], other kinds last; its variants follow."""
    drawings, first = [], []
    for style in [*sprites.images, sprites.others]:
        first.append([])
        for icons in style:
            first[-1].append(len(drawings))
            drawings += icons
    assert len(drawings) <= len(atlas.icons), f"{len(drawings)} drawings, and room for {len(atlas.icons)}"
    shares = np.array_split(np.arange(len(drawings)), multiprocessing.cpu_count())
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(drawings, share, atlas)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return first


def fill(drawings: list[Image.Image], share: np.ndarray, atlas: Atlas) -> None:
    torch.set_num_threads(1)
    for n in share:
        drawing = fitted(drawings[n], atlas.icons.shape[-1])
        atlas.icons[n, :, : drawing.height, : drawing.width] = torch.from_numpy(np.array(drawing)).permute(2, 0, 1)
        atlas.widths[n], atlas.heights[n] = drawing.size


def fitted(icon: Image.Image, side: int) -> Image.Image:
    """A turned icon can be larger than the others."""
    longer = max(icon.size)
    return icon if longer <= side else icon.resize([max(1, v * side // longer) for v in icon.size], Image.BICUBIC)


def describe(scene, first: list[list[int]]) -> tuple[np.ndarray, tuple[int, int]]:
    """A scene as [MOST, FIELDS] whole numbers, and its background and pattern."""
    table = np.zeros((MOST, FIELDS), np.int32)
    table[:, 1] = -1
    for row, o in zip(table, scene["objects"]):
        of_style = o["concept"] if o["style"] >= 0 else o["concept"] - len(CONCEPTS)
        row[:] = first[o["style"]][of_style] + o["variant"], o["concept"], *o["box"], o["flip"], o["recolour"]
    return table, (scene["background"], scene["pattern"])


def draw_batch(atlas: Atlas, objects: Tensor, about: Tensor, size: int, grid: int) -> tuple[Tensor, Labels]:
    """[B, MOST, FIELDS] and [B, 2] -> pixels [B, 3, size, size], normalised, and labels."""
    device, batch = objects.device, len(objects)
    icon, concept, x0, y0, x1, y1, flip, recolour = objects.flatten(0, 1).unbind(-1)
    across = resize_matrix(atlas.widths[icon], x0, x1, flip, size, atlas.icons.shape[-1])
    down = resize_matrix(atlas.heights[icon], y0, y1, torch.zeros_like(flip), size, atlas.icons.shape[-1])
    drawn = (down[:, None] @ (atlas.icons[icon].float() @ across[:, None].mT)).clamp(0, 255)
    drawn = drawn * (concept >= 0)[:, None, None, None]
    alpha = drawn[:, 3:]
    turn, shift = recolouring(recolour.bool())
    rgb = torch.minimum((turn @ drawn[:, :3].flatten(2)).view_as(drawn[:, :3]) + shift[..., None, None] * alpha / 255, alpha).clamp(min=0)
    rgb, alpha = rgb.view(batch, MOST, 3, size, size), alpha.view(batch, MOST, 1, size, size) / 255

    canvas = draw_backgrounds(about, size)
    owner = torch.full((batch, size, size), -1, device=device)
    for n in range(MOST):
        canvas = canvas * (1 - alpha[:, n]) + rgb[:, n]
        owner = torch.where(alpha[:, n, 0] > 0.4, n, owner)
    canvas = canvas * (0.85 + 0.3 * torch.rand(batch, 3, 1, 1, device=device))
    pixels = canvas.clamp(0, 255).floor() / 255
    mean, deviation = (torch.from_numpy(v).to(device)[:, None, None] for v in (MEAN, STD))
    boxes = objects[..., 2:6]
    owners, centres = patch_owners(owner, boxes, objects[..., 1] >= 0, grid)
    return (pixels - mean) / deviation, label(owners, centres, objects[..., 1], boxes / size, *about.unbind(-1))


def resize_matrix(length: Tensor, begin: Tensor, end: Tensor, flip: Tensor, size: int, side: int) -> Tensor:
    """[N] lengths of icons and where they go -> [N, size, side]: every place of the canvas as a mean of places of the icon."""
    to = (end - begin).clamp(min=1)[:, None]
    at = torch.arange(size, device=length.device) - begin[:, None]
    inside = (at >= 0) & (at < to)
    at = torch.where(flip[:, None] > 0, to - 1 - at, at)
    scale = length[:, None] / to
    place = torch.arange(side, device=length.device)
    away = (place + 0.5 - ((at + 0.5) * scale)[..., None]) / scale.clamp(min=1)[..., None]
    weight = bicubic(away.abs()) * (place < length[:, None, None])
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-6) * inside[..., None]


def bicubic(x: Tensor) -> Tensor:
    """Keys' filter with a = -1/2, as PIL has it."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def recolouring(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """`styles.recoloured` for [N] icons: a matrix [N, 3, 3] for colours and what is added where the icon is, [N, 3]."""
    n, device = len(wanted), wanted.device
    uniform = lambda low, high, *shape: low + (high - low) * torch.rand(n, *shape, device=device)
    normal = lambda deviation: deviation * torch.randn(n, device=device)
    luma = _LUMA.to(device)
    dark, light = uniform(0, 130, 3), uniform(110, 255, 3)
    swap = uniform(0, 1, 1) < 0.15
    dark, light = torch.where(swap, light, dark), torch.where(swap, dark, light)
    two_tones = (light - dark)[..., None] / 255 * luma

    turn = torch.where(uniform(0, 1) < 0.3, uniform(-torch.pi, torch.pi), normal(0.25))
    keep, contrast = uniform(0.1, 1.5), uniform(0.6, 1.3)
    c, s = turn.cos() * keep, turn.sin() * keep
    one, none = torch.ones_like(c), torch.zeros_like(c)
    middle = torch.stack([one, none, none, none, c, -s, none, s, c], -1).view(n, 3, 3)
    to_yiq, to_rgb = (torch.from_numpy(m).float().to(device) for m in (styles.TO_YIQ, styles.TO_RGB))
    hue = to_rgb @ middle @ to_yiq * contrast[:, None, None]
    shade = (127 * (1 - contrast) + normal(20))[:, None].expand(n, 3)

    kind = uniform(0, 1)
    is_tinted, is_two = kind < 0.2, (kind >= 0.2) & (kind < 0.4)
    same = torch.eye(3, device=device).expand(n, 3, 3)
    matrix = torch.where(is_tinted[:, None, None], 0.6 * same, torch.where(is_two[:, None, None], two_tones, hue))
    shift = torch.where(is_tinted[:, None], uniform(0, 200, 3), torch.where(is_two[:, None], dark, shade))
    return torch.where(wanted[:, None, None], matrix, same), torch.where(wanted[:, None], shift, 0.0)


def draw_backgrounds(about: Tensor, size: int) -> Tensor:
    """[B, 2] backgrounds and patterns -> [B, 3, size, size], as `scenes.draw_background` draws one."""
    device, batch = about.device, len(about)
    uniform = lambda low, high, *shape: low + (high - low) * torch.rand(batch, *shape, device=device)
    colours = torch.tensor([b["rgb"] for b in BACKGROUNDS], device=device).float()
    base = (colours[about[:, 0]] + uniform(-14, 14, 3))[..., None, None]
    place = torch.arange(size, device=device)
    ys, xs = place[:, None].float(), place[None, :].float()

    along = lambda angle, xs, ys: angle.cos() * xs + angle.sin() * ys
    gradient = along(uniform(0, 2 * torch.pi, 1, 1), xs / size - 0.5, ys / size - 0.5) * uniform(60, 110, 1, 1)
    cell = torch.randint(2, 9, (batch, 1), device=device)
    cells = torch.randn(batch, size // 2 + 1, size // 2 + 1, device=device) * uniform(9, 18, 1, 1)
    index = place // cell
    rows = cells.gather(1, index[..., None].expand(-1, -1, cells.shape[-1]))
    noisy = rows.gather(2, index[:, None].expand(-1, size, -1))
    angle = torch.randint(0, 4, (batch, 1, 1), device=device) * (torch.pi / 4)
    striped = (along(angle, xs, ys) * 2 * torch.pi / uniform(10, 30, 1, 1)).sin().sign() * uniform(12, 22, 1, 1)

    by_name = {"plain": torch.zeros_like(gradient), "gradient": gradient, "noisy": noisy, "striped": striped}
    choice = torch.stack([by_name[name] for name in PATTERNS], 1)
    added = choice.gather(1, about[:, 1, None, None, None].expand(-1, 1, size, size))
    return (base + added).clamp(0, 255)


def patch_owners(owner: Tensor, boxes: Tensor, there: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """`scenes.patch_owners` for a batch: owner [B, size, size], boxes [B, MOST, 4] in pixels -> two of [B, patches]."""
    patch = owner.shape[-1] // grid
    cells = owner.view(-1, grid, patch, grid, patch)
    share = torch.stack([(cells == n).float().mean((2, 4)).flatten(1) for n in range(MOST)], 1)
    best, who = share.max(1)
    owners = torch.where(best >= 0.2, who, torch.where(best >= 0.04, -2, -1))
    middle = (boxes[..., :2] + boxes[..., 2:]) // 2 // patch
    holds = F.one_hot((middle[..., 1] * grid + middle[..., 0]).long(), grid**2).bool() & there[..., None]
    centres = holds.any(1)
    return torch.where(centres, holds.float().argmax(1), owners), centres
