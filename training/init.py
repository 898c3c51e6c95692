"""Starting weights that already know something: neighbours in the tower, names in the decoder."""

import math

import torch
from torch import nn

import codes
from model import CogVLM, Config, Vision
from world import BACKGROUNDS, CONCEPTS

NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
POSITION_GAIN = 2.0


@torch.no_grad()
def init_vision(vision: Vision, c: Config) -> None:
    """A tower whose heads look at the eight neighbours, one each, as a convolution would.

    The first `head_dim` channels of the stream hold the patch's position: cosines and sines of
    row and column whose dot product is 6 on equal and 0 on different rows (or columns). A head
    that rotates its query by one step therefore attends to exactly that neighbour.
    """
    head_dim = c.vit_width // c.vit_heads
    assert head_dim % 4 == 0
    frequencies = math.pi * (torch.arange(head_dim // 4) + 0.5) / (head_dim // 4)
    for module in vision.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def code(rows, columns):
        angles = torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], 1)
        return torch.cat([angles.cos(), angles.sin()], 1)

    cells = torch.arange(c.grid).float()
    table = vision.patch_embedding.position_embedding.weight
    table.normal_(std=0.02)
    table[1:, :head_dim] = code(cells.repeat_interleave(c.grid), cells.repeat(c.grid))
    table[0, :head_dim] = 0
    vision.patch_embedding.proj.weight[:head_dim] = 0
    vision.patch_embedding.cls_embedding.normal_(std=0.5)[:, :head_dim] = 0

    half = head_dim // 2
    for depth, block in enumerate(vision.transformer.layers):
        qkv = block.attention.query_key_value.weight.view(3, c.vit_heads, head_dim, c.vit_width)
        qkv[2, :, :, :head_dim] = 0
        for head, (dy, dx) in enumerate(NEIGHBOURS):
            # Later blocks keep the four straight neighbours and free the diagonals for content.
            if depth >= 3 and dy and dx:
                qkv[:2, head] *= 0.5
                continue
            turn = torch.cat([dy * frequencies, dx * frequencies])
            rotation = torch.zeros(head_dim, head_dim)
            rotation[:half, :half] = rotation[half:, half:] = turn.cos().diag()
            rotation[:half, half:], rotation[half:, :half] = -turn.sin().diag(), turn.sin().diag()
            qkv[0, head], qkv[1, head] = 0, 0
            qkv[0, head, :, :head_dim] = rotation * POSITION_GAIN
            qkv[1, head, :, :head_dim] = torch.eye(head_dim) * POSITION_GAIN
        for norm in (block.input_layernorm, block.post_attention_layernorm):
            norm.weight.fill_(0.3)
            norm.weight[:head_dim] = 0.02
    vision.linear_proj.dense_4h_to_h.weight.mul_(0.1)
    vision.boi.normal_(std=0.2)
    vision.eoi.normal_(std=0.2)


@torch.no_grad()
def init_deeper(vision: Vision, c: Config, weights: dict[str, torch.Tensor]) -> None:
    """Begins with a tower of as many layers or fewer: new ones, at the end, write nothing until training says otherwise."""
    init_vision(vision, c)
    for name in vision.load_state_dict(weights, strict=False).missing_keys:
        if "layernorm" in name:
            vision.get_parameter(name).zero_()


def init_model_deeper(model: CogVLM, old: CogVLM) -> None:
    """Begins with a whole model of the same words, whose tower may have fewer layers."""
    init_deeper(model.model.vision, model.config, old.model.vision.state_dict())
    model.load_state_dict(old.state_dict(), strict=False)


@torch.no_grad()
def init_decoder(model: CogVLM, token_of) -> None:
    """Words start in the channels of codes.py, and two heads of the first layers match name to name.

    `token_of(word)` is the id of a word in the middle of a sentence.
    """
    c = model.config
    for name, p in model.named_parameters():
        if p.ndim == 2 and "layers" in name and "vision.transformer" not in name:
            out = "dense" in name or "down_proj" in name
            p.normal_(std=p.shape[1] ** -0.5 * (0.4 if out else 0.8))
            if out and "vision" in name:
                p.zero_()  # patches keep their code until training says otherwise
    embed, head = model.model.embed_tokens.weight, model.lm_head.weight
    embed.zero_()
    embed[:, codes.FREE].normal_(std=0.45)
    embed[:, codes.FREE.start] = 1.5  # "I am text"
    head.normal_(std=0.02)
    for concept, code in zip(CONCEPTS, codes.NAMES):
        for spoken in (concept, *concept.get("synonyms", [])):
            for word in (spoken["name"], spoken["plural"]):
                embed[token_of(word), codes.NAME] = codes.NAME_SIZE * code
        for word in (concept["name"], concept["plural"]):
            head[token_of(word), codes.NAME] = 0.5 * code
    for index, background in enumerate(BACKGROUNDS):
        for word in (background["name"], background["name"].capitalize()):
            embed[token_of(word), codes.COLOUR.start + index] = 1.0
            head[token_of(word), codes.COLOUR.start + index] = 0.5
    numbers = torch.tensor([token_of(f"{n:03d}") for n in range(1000)])
    code = codes.number_rows((torch.arange(1000) + 0.5) / 1000)
    embed[numbers, codes.FREE.start + 1 :] = embed[numbers[0], codes.FREE.start + 1 :]
    embed[numbers] += code
    head[numbers] = code * 0.3

    size = c.hidden // c.heads
    slow = torch.cat([torch.arange(size // 4, size // 2), torch.arange(size * 3 // 4, size)])  # barely turned by RoPE
    for depth in (0, 1):
        attention = model.model.layers[depth].self_attn
        language = attention.language_expert_query_key_value.weight.view(3, c.heads, size, -1)
        vision = attention.vision_expert_query_key_value.weight.view(3, c.heads, size, -1)
        out = attention.language_expert_dense.weight.view(-1, c.heads, size)
        for h in (0, 1):
            match = torch.randn(len(slow), 64)
            match /= match.norm(dim=0)
            for weight in (language, vision):
                weight[:2, h] *= 0.1
            language[0, h][slow, codes.NAME] = match
            vision[1, h][slow, codes.NAME] = match
            # Head 0 brings x0 and y0 of the object found, head 1 x1 and y1.
            channels = torch.arange(48) + codes.BOX.start + 48 * h
            vision[2, h] *= 0.1
            vision[2, h][torch.arange(48), channels] += 1
            out[:, h] *= 0.1
            out[channels, h, torch.arange(48)] += 0.5
    init_box_match(model)
    model.model.vision.boi.normal_(std=0.2)
    model.model.vision.eoi.normal_(std=0.2)


@torch.no_grad()
def init_box_match(model: CogVLM, depth: int = 2, head: int = 0) -> None:
    """A head that finds the patches of a box and brings their name: "What is at [[...]]?"."""
    c = model.config
    size = c.hidden // c.heads
    slow = torch.cat([torch.arange(size // 4, size // 2), torch.arange(size * 3 // 4, size)])
    attention = model.model.layers[depth].self_attn
    language = attention.language_expert_query_key_value.weight.view(3, c.heads, size, -1)
    vision = attention.vision_expert_query_key_value.weight.view(3, c.heads, size, -1)
    match = torch.randn(len(slow), 96)
    match /= match.norm(dim=0)
    for weight in (language, vision):
        weight[:, head] *= 0.1
    language[0, head][slow, codes.BOX] = match
    vision[1, head][slow, codes.BOX] = match
    vision[2, head][:, codes.NAME] += torch.eye(64)
    out = attention.language_expert_dense.weight.view(-1, c.heads, size)
    out[:, head] *= 0.1
    out[codes.NAME, head] += 0.5 * torch.eye(64)


@torch.no_grad()
def init_from(model: CogVLM, words, old: CogVLM, old_words, old_concepts: list[dict]) -> None:
    """Begins with an older decoder that knew the first of the concepts by the same code.

    A new name's code is a sum of old names' codes, so its rows are that sum of theirs: the same share of what names have
    in common, and the directions in which they differ mixed as the code mixes them.
    """
    state = {k: v for k, v in old.state_dict().items() if "embed_tokens" not in k and "lm_head" not in k}
    model.load_state_dict(state, strict=False)
    known = len(old_concepts)
    assert [c["name"] for c in CONCEPTS[:known]] == [c["name"] for c in old_concepts] and known <= 64
    tables = [(model.model.embed_tokens.weight, old.model.embed_tokens.weight), (model.lm_head.weight, old.lm_head.weight)]
    pieces = {old_words.model.id_to_piece(i): i for i in range(old_words.size)}
    for new, before in tables:
        for i in range(words.size):
            at = pieces.get(words.model.id_to_piece(i))
            if at is not None:
                new[i] = before[at]
        for form in ("name", "plural"):
            rows = torch.stack([before[old_words.token_of(c[form])] for c in old_concepts])
            for concept, code in zip(CONCEPTS[known:], codes.NAMES[known:]):
                mixed = rows.mean(0) + code[:known] @ (rows - rows.mean(0))
                new[words.token_of(concept[form])] = mixed
                if new is tables[0][0]:
                    for synonym in concept.get("synonyms", []):
                        new[words.token_of(synonym[form])] = mixed
