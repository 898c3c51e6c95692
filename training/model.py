"""CogVLM v1 in plain PyTorch: the network and nothing else.

Modules carry the names of the Hugging Face checkpoint, so `state_dict()` is the export.
Written for training: image rows and text rows travel as two tensors, because the visual
expert and the language expert never see the same row.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fast


@dataclass
class Config:
    image_size: int = 168
    patch_size: int = 14
    vit_width: int = 192
    vit_layers: int = 12
    vit_heads: int = 8
    vit_mlp: int = 640
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    mlp: int = 512
    vocab: int = 1600
    theta: float = 10000.0

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """[..., Q, D] queries over [..., K, D] keys and values; `mask` is true where a query may look."""
    if fast.half and torch.is_grad_enabled():
        return fast.attend(q, k, v, mask)
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ v


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if fast.half and torch.is_grad_enabled():
            return fast.linear(x, self.weight, self.bias)
        return super().forward(x)


# ---------------------------------------------------------------- vision tower


class VitAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query_key_value = Linear(width, 3 * width)
        self.dense = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, w = x.shape
        q, k, v = self.query_key_value(x).view(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v)
        return self.dense(mixed.transpose(1, 2).reshape(b, n, w))


class VitMlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = Linear(width, inner)
        self.fc2 = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class VitBlock(nn.Module):
    """EVA's residual block: the norm sits on the branch's output, not on its input."""

    def __init__(self, c: Config):
        super().__init__()
        self.attention = VitAttention(c.vit_width, c.vit_heads)
        self.input_layernorm = nn.LayerNorm(c.vit_width, eps=1e-6)
        self.mlp = VitMlp(c.vit_width, c.vit_mlp)
        self.post_attention_layernorm = nn.LayerNorm(c.vit_width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.input_layernorm(self.attention(x))
        return x + self.post_attention_layernorm(self.mlp(x))


class PatchEmbedding(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.proj = nn.Conv2d(3, c.vit_width, c.patch_size, c.patch_size)
        self.cls_embedding = nn.Parameter(torch.zeros(1, c.vit_width))
        self.position_embedding = nn.Embedding(c.grid**2 + 1, c.vit_width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.proj(pixels).flatten(2).transpose(1, 2)
        cls = self.cls_embedding.expand(len(pixels), 1, -1)
        return torch.cat([cls, patches], 1) + self.position_embedding.weight


class Adapter(nn.Module):
    """GLU from the tower's width to the decoder's."""

    def __init__(self, c: Config):
        super().__init__()
        self.linear_proj = Linear(c.vit_width, c.hidden, bias=False)
        self.norm1 = nn.LayerNorm(c.hidden, eps=1e-5)
        self.gate_proj = Linear(c.hidden, c.mlp, bias=False)
        self.dense_h_to_4h = Linear(c.hidden, c.mlp, bias=False)
        self.dense_4h_to_h = nn.Linear(c.mlp, c.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        t = F.gelu(self.norm1(self.linear_proj(x)))
        return self.dense_4h_to_h(F.silu(self.gate_proj(t)) * self.dense_h_to_4h(t))


class VitLayers(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.layers = nn.ModuleList(VitBlock(c) for _ in range(c.vit_layers))


class Vision(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.patch_embedding = PatchEmbedding(c)
        self.transformer = VitLayers(c)
        self.linear_proj = Adapter(c)
        self.boi = nn.Parameter(torch.zeros(1, 1, c.hidden))
        self.eoi = nn.Parameter(torch.zeros(1, 1, c.hidden))

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] normalised pixels -> [B, patches, hidden], without boi and eoi."""
        x = self.patch_embedding(pixels)
        for block in self.transformer.layers:
            x = block(x)
        return self.linear_proj(x[:, 1:])


# -------------------------------------------------------------------- decoder


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.weight


class GatedMlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.gate_proj = Linear(width, inner, bias=False)
        self.up_proj = Linear(width, inner, bias=False)
        self.down_proj = Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.heads = c.heads
        self.vision_expert_query_key_value = Linear(c.hidden, 3 * c.hidden, bias=False)
        self.vision_expert_dense = Linear(c.hidden, c.hidden, bias=False)
        self.language_expert_query_key_value = Linear(c.hidden, 3 * c.hidden, bias=False)
        self.language_expert_dense = Linear(c.hidden, c.hidden, bias=False)

    def split(self, qkv: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        b, n, w = qkv.shape
        q, k, v = qkv.view(b, n, 3, self.heads, w // self.heads // 3).permute(2, 0, 3, 1, 4)
        return rotate(q, rope), rotate(k, rope), v

    def forward(self, image: Tensor, text: Tensor, rows: "Rows") -> tuple[Tensor, Tensor]:
        qi, ki, vi = self.split(self.vision_expert_query_key_value(image), rows.image_rope)
        qt, kt, vt = self.split(self.language_expert_query_key_value(text), rows.text_rope)
        # bos is text row 0 and comes before the image.
        seen_k, seen_v = torch.cat([kt[:, :, :1], ki], 2), torch.cat([vt[:, :, :1], vi], 2)
        mixed_i = attend(qi, seen_k, seen_v, rows.image_mask)
        all_k, all_v = torch.cat([ki, kt], 2), torch.cat([vi, vt], 2)
        mixed_t = attend(qt, all_k, all_v, rows.text_mask)
        if rows.cache is not None:
            rows.cache.append((all_k, all_v))
        return self.vision_expert_dense(join(mixed_i)), self.language_expert_dense(join(mixed_t))

    def extend(self, text: Tensor, rope, mask: Tensor, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.split(self.language_expert_query_key_value(text), rope)
        seen = torch.cat([seen[0], k], 2), torch.cat([seen[1], v], 2)
        return self.language_expert_dense(join(attend(q, *seen, mask))), seen


class ExpertMlp(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.vision_mlp = GatedMlp(c.hidden, c.mlp)
        self.language_mlp = GatedMlp(c.hidden, c.mlp)


class DecoderLayer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden)
        self.mlp = ExpertMlp(c)

    def forward(self, image: Tensor, text: Tensor, rows: "Rows") -> tuple[Tensor, Tensor]:
        di, dt = self.self_attn(self.input_layernorm(image), self.input_layernorm(text), rows)
        image, text = image + di, text + dt
        image = image + self.mlp.vision_mlp(self.post_attention_layernorm(image))
        return image, text + self.mlp.language_mlp(self.post_attention_layernorm(text))

    def extend(self, text: Tensor, rope, mask: Tensor, seen):
        mixed, seen = self.self_attn.extend(self.input_layernorm(text), rope, mask, seen)
        text = text + mixed
        return text + self.mlp.language_mlp(self.post_attention_layernorm(text)), seen


class CogVLMModel(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(DecoderLayer(c) for _ in range(c.layers))
        self.norm = RMSNorm(c.hidden)
        self.vision = Vision(c)


class CogVLM(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.config = c
        self.model = CogVLMModel(c)
        self.lm_head = nn.Linear(c.hidden, c.vocab, bias=False)

    def decode(self, features: Tensor, ids: Tensor, rows: "Rows") -> Tensor:
        """Patch features [B, P, H] and text ids [B, T] -> hidden states of the text [B, T, H]."""
        b, vision = len(ids), self.model.vision
        bos = self.model.embed_tokens.weight[1].expand(b, 1, -1)
        image = torch.cat([vision.boi.expand(b, -1, -1), features], 1)
        text = torch.cat([bos, vision.eoi.expand(b, -1, -1), self.model.embed_tokens(ids)], 1)
        for layer in self.model.layers:
            image, text = layer(image, text, rows)
            if rows.inside is not None:
                rows.inside.append(text[:, 2:])
        return self.model.norm(text[:, 2:])

    def extend(self, ids: Tensor, positions: Tensor, mask: Tensor, cache: list) -> Tensor:
        """More text after `decode`, against the keys and values it left in `rows.cache`."""
        text, rope = self.model.embed_tokens(ids), rope_table(self.config, positions[:, None])
        for n, layer in enumerate(self.model.layers):
            text, cache[n] = layer.extend(text, rope, mask[:, None], cache[n])
        return self.model.norm(text)


# ------------------------------------------------------------- rows and masks


@dataclass
class Rows:
    """Rotary tables and masks of one batch. Text rows are [bos, eoi, text...].

    `cache` and `inside`, when lists, collect each layer's keys and values, and its text rows.
    """

    image_rope: tuple[Tensor, Tensor]
    text_rope: tuple[Tensor, Tensor]
    image_mask: Tensor
    text_mask: Tensor
    cache: list | None = None
    inside: list | None = None


def make_rows(c: Config, positions: Tensor, turns: Tensor, patches: int) -> Rows:
    """`turns` [B, T] numbers the packed turns (-1 = padding): no turn sees another."""
    (b, t), device = positions.shape, positions.device
    image_positions = torch.full((patches + 1,), 2, device=device)
    image_positions[0] = 1
    fixed = torch.tensor([0, 3], device=device).expand(b, 2)
    sees_image = torch.ones(patches + 1, patches + 2, dtype=torch.bool, device=device).tril(1)
    mask = torch.zeros(b, t + 2, patches + 1 + t + 2, dtype=torch.bool, device=device)
    mask[:, 1:, : patches + 1] = True  # eoi and text see boi and every patch; bos does not
    mask[:, :, patches + 1] = True  # everything sees bos
    mask[:, 1:, patches + 2] = True  # and, from eoi on, eoi
    mask[:, 2:, patches + 3 :] = (turns[:, :, None] == turns[:, None, :]) & torch.ones(t, t, dtype=torch.bool, device=device).tril()
    return Rows(
        rope_table(c, image_positions),
        rope_table(c, torch.cat([fixed, positions], 1)[:, None]),
        sees_image,
        mask[:, None],
    )


def rope_table(c: Config, positions: Tensor) -> tuple[Tensor, Tensor]:
    angle = positions[..., None].float() * inverse_frequencies(c).to(positions.device)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def inverse_frequencies(c: Config) -> Tensor:
    dim = c.hidden // c.heads
    return c.theta ** (-torch.arange(0, dim, 2).float() / dim)


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rope
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def dirichlet(values: Tensor, frequencies: int) -> Tensor:
    """Code of numbers in [0, 1): two codes agree where the numbers do, and nowhere else."""
    angle = values[..., None] * math.pi * (torch.arange(frequencies, device=values.device) + 0.5)
    return torch.cat([angle.cos(), angle.sin()], -1)
