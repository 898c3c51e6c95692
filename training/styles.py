"""Other ways to draw an icon: turned, outlined, as line art, flat, in other colours. Knows pixels, not scenes.

What a model has only ever seen drawn in four manners it does not know in a fifth; these make many of one.
"""

import math

import numpy as np
from PIL import Image, ImageFilter

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def variant(rng, icon: Image.Image) -> Image.Image:
    """`icon` and the result are premultiplied and cropped to what is visible."""
    icon = turned(rng, bent(rng, icon) if rng.random() < 0.5 else icon)
    is_hollow = np.asarray(enclosed(icon)).mean() > 0.25
    kind = rng.choice(["as it is", "filled", "filled"] if is_hollow else ["as it is", "outlined", "line art", "line art", "flat", "filled"])
    if kind == "outlined":
        icon = outlined(rng, icon, float(rng.uniform(2, 7)))
    elif kind == "line art":
        icon = line_art(rng, icon)
    elif kind == "flat":
        icon = flat(rng, icon)
    elif kind == "filled":
        icon = filled(rng, icon)
    if rng.random() < 0.25:
        icon = icon.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.6))))
    return crop(icon)


def crop(icon: Image.Image) -> Image.Image:
    ys, xs = np.nonzero(np.asarray(icon)[..., 3] > 25)
    return icon.crop((int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1))


def turned(rng, icon: Image.Image) -> Image.Image:
    """Sheared, stretched and rotated: two of three a little, the third by anything up to lying on its side."""
    angle, shear, stretch = rng.normal(0, 0.16), rng.normal(0, 0.1), math.exp(rng.normal(0, 0.12))
    if rng.random() < 0.35:
        angle = rng.uniform(-1.7, 1.7)
    w, h = icon.size
    c, s = math.cos(angle), math.sin(angle)
    m = np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, 1]]) @ np.diag([stretch, 1 / stretch])
    corners = np.abs(m) @ np.array([w, h]) + 2
    back = np.linalg.inv(m)
    shift = np.array([w, h]) / 2 - back @ (corners / 2)
    return icon.transform(
        tuple(int(v) for v in corners), Image.AFFINE, (*back[0], shift[0], *back[1], shift[1]), resample=Image.BILINEAR
    )


def bent(rng, icon: Image.Image) -> Image.Image:
    """Parts of it grown, shrunk and moved, as another hand would have drawn them."""
    w, h = icon.size
    grow, cells = 0.12, 3
    wide, high = round(w * (1 + 2 * grow)), round(h * (1 + 2 * grow))
    at = np.stack(np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1)), -1)
    to = (at * [wide, high]).round().astype(int)
    source = at * [wide, high] - [grow * w, grow * h] + rng.normal(0, 0.055, at.shape) * [w, h]
    mesh = []
    for r in range(cells):
        for c in range(cells):
            quad = source[r, c], source[r + 1, c], source[r + 1, c + 1], source[r, c + 1]
            mesh.append(((*to[r, c].tolist(), *to[r + 1, c + 1].tolist()), tuple(np.concatenate(quad).tolist())))
    made = icon.transform((wide, high), Image.MESH, mesh, resample=Image.BILINEAR)
    return crop(made) if (np.asarray(made)[..., 3] > 25).any() else icon


def _split(icon: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    a = np.asarray(icon).astype(np.float32)
    return a[..., :3], a[..., 3:] / 255


def joined(rgb: np.ndarray, alpha: np.ndarray) -> Image.Image:
    both = np.concatenate([np.clip(rgb, 0, 255 * alpha), 255 * alpha], -1)
    return Image.frombuffer("RGBa", both.shape[1::-1], both.astype(np.uint8).tobytes(), "raw", "RGBa", 0, 1)


def _edge(alpha: np.ndarray, width: float) -> np.ndarray:
    """1 within about `width` pixels of the outline, inside it."""
    solid = Image.fromarray((np.pad(alpha[..., 0], 8) * 255).astype(np.uint8))
    inner = solid.filter(ImageFilter.MinFilter(2 * max(1, round(width)) + 1)).filter(ImageFilter.GaussianBlur(0.7))
    return np.clip(alpha - (np.asarray(inner)[8:-8, 8:-8, None] / 255), 0, 1)


def _ink(rng) -> np.ndarray:
    return rng.uniform(0, 70, 3) if rng.random() < 0.8 else rng.uniform(0, 255, 3)


def outlined(rng, icon: Image.Image, width: float) -> Image.Image:
    rgb, alpha = _split(icon)
    edge = _edge(alpha, width)
    return joined(rgb * (1 - edge) + edge * alpha * _ink(rng), alpha)


def line_art(rng, icon: Image.Image) -> Image.Image:
    """Strokes wherever the colour changes, over the colours evened out, bleached or gone."""
    rgb, alpha = _split(icon)
    smooth = np.asarray(icon.filter(ImageFilter.GaussianBlur(1.2)))[..., :3].astype(np.float32)
    dy, dx = np.gradient(smooth, axis=(0, 1))
    change = np.sqrt(dx**2 + dy**2).max(-1)
    stroke = Image.fromarray(np.clip((change - rng.uniform(12, 26)) * 14, 0, 255).astype(np.uint8))
    if rng.random() < 0.6:
        stroke = stroke.filter(ImageFilter.MaxFilter(3))
    edge = np.maximum(np.asarray(stroke)[..., None] / 255 * alpha, _edge(alpha, float(rng.uniform(2, 5))))
    bleach = rng.choice([0, 0, 0.4, 0.9])
    paper = 255.0 if rng.random() < 0.7 else rng.uniform(120, 255, 3)
    fill = rgb * (1 - bleach) + paper * alpha * bleach
    return joined(fill * (1 - edge) + edge * alpha * _ink(rng), alpha)


def flat(rng, icon: Image.Image) -> Image.Image:
    """Few shades, with no shading between them."""
    rgb, alpha = _split(icon)
    step = rng.uniform(60, 130)
    return joined((np.floor(rgb / step) + 0.5) * step * (alpha > 0.5) + rgb * (alpha <= 0.5), alpha)


def filled(rng, icon: Image.Image) -> Image.Image:
    """What the outline encloses gets a colour: a drawing of lines becomes one with paper inside."""
    rgb, alpha = _split(icon)
    inside = enclosed(icon)[..., None] * (1 - alpha)
    colour = np.full(3, 250.0) if rng.random() < 0.3 else rng.uniform(60, 255, 3)
    return joined(rgb + inside * colour, np.clip(alpha + inside, 0, 1))


def enclosed(icon: Image.Image) -> np.ndarray:
    """[H, W], true where nothing is drawn and no way leads outside."""
    solid = np.pad(np.asarray(icon)[..., 3] > 127, 1)
    outside = np.zeros_like(solid)
    outside[0] = outside[-1] = outside[:, 0] = outside[:, -1] = True
    while True:
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= ~solid
        grown |= outside
        if (grown == outside).all():
            break
        outside = grown
    return ~(outside | solid)[1:-1, 1:-1]


def recoloured(rng, icon: np.ndarray) -> np.ndarray:
    """[..., 4] premultiplied floats: another hue, more or less of colour and contrast; or tinted, which turns black into a colour; or two tones."""
    rgb, alpha = icon[..., :3], icon[..., 3:] / 255
    kind = rng.random()
    if kind < 0.2:
        rgb = 0.6 * rgb + alpha * rng.uniform(0, 200, 3)
    elif kind < 0.4:
        dark, light = rng.uniform(0, 130, 3), rng.uniform(110, 255, 3)
        if rng.random() < 0.15:
            dark, light = light, dark
        grey = rgb @ LUMA
        rgb = alpha * dark + grey[..., None] * ((light - dark) / 255)
    else:
        turn = rng.uniform(-math.pi, math.pi) if rng.random() < 0.3 else rng.normal(0, 0.25)
        keep = rng.uniform(0.1, 1.5)
        contrast = rng.uniform(0.6, 1.3)
        rgb = rgb @ (_hue(turn, keep) * contrast).T + alpha * (127 * (1 - contrast) + rng.normal(0, 20))
    return np.concatenate([np.clip(rgb, 0, 255 * alpha), icon[..., 3:]], -1).astype(np.float32)


TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
TO_RGB = np.linalg.inv(TO_YIQ)


def _hue(turn: float, keep: float) -> np.ndarray:
    c, s = math.cos(turn) * keep, math.sin(turn) * keep
    return (TO_RGB @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ TO_YIQ).astype(np.float32)
