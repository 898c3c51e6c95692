"""Matrix products in bfloat16 with everything around them in float32: twice the arithmetic of one AVX-512 core. For training only.

The weights, their gradients and the optimisers stay in float32; only the factors of a product are rounded. (Whole
layers in bfloat16 gain less: what is not a product is slower there.)
"""

import torch
from torch import Tensor

half = False  # set by a trainer
_BF16 = torch.bfloat16


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x16, w16 = x.reshape(-1, x.shape[-1]).to(_BF16), weight.to(_BF16)
        ctx.save_for_backward(x16, w16)
        ctx.shape, ctx.has_bias = x.shape, bias is not None
        y = (x16 @ w16.T).float()
        return (y if bias is None else y.add_(bias)).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, g: Tensor):
        x16, w16 = ctx.saved_tensors
        g = g.reshape(-1, g.shape[-1])
        g16 = g.to(_BF16)
        return (g16 @ w16).float().view(ctx.shape), (g16.T @ x16).float(), g.sum(0) if ctx.has_bias else None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        ctx.scale = q.shape[-1] ** -0.5
        q, k, v = (t.to(_BF16).contiguous() for t in (q * ctx.scale, k, v))
        scores = (q @ k.transpose(-1, -2)).float()
        if mask is not None:
            scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        p = scores.softmax(-1).to(_BF16)
        ctx.save_for_backward(q, k, v, p)
        return (p @ v).float()

    @staticmethod
    def backward(ctx, g: Tensor):
        q, k, v, p = ctx.saved_tensors
        g = g.to(_BF16).contiguous()
        ds = torch._softmax_backward_data((g @ v.transpose(-1, -2)).float(), p.float(), -1, torch.float32).to(_BF16)
        return (ds @ k).float() * ctx.scale, (ds.transpose(-1, -2) @ q).float(), (p.transpose(-1, -2) @ g).float(), None


linear, attend = _Linear.apply, _Attend.apply
