"""Muon for the matrices inside the blocks, AdamW for everything else; and an average of the weights."""

from collections import defaultdict

import torch
from torch import nn

import fast

# Quintic Newton-Schulz coefficients, one triple per iteration (Polar Express, Amsel et al. 2025).
NEWTON_SCHULZ = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
]


def orthogonalise(g: torch.Tensor) -> torch.Tensor:
    """The nearest (half-)orthogonal matrix, roughly. Batched over leading dimensions."""
    x = g.bfloat16() if fast.half or g.is_cuda else g
    x = x.mT if g.shape[-2] > g.shape[-1] else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if g.shape[-2] > g.shape[-1] else x).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for alike in by_shape.values():
                self.step_alike(alike, group)

    def step_alike(self, params: list[nn.Parameter], group: dict) -> None:
        """All of one shape at once: on a GPU a launch a matrix would take longer than the products."""
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        grads, momenta = [p.grad for p in params], [self.state[p]["momentum"] for p in params]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, grads, alpha=1 - group["momentum"])
        g = torch.stack(grads).lerp_(torch.stack(momenta), group["momentum"])
        high, wide = params[0].shape
        # Fused projections are several square matrices on top of each other.
        parts = high // wide if high % wide == 0 else 1
        update = orthogonalise(g.view(len(params) * parts, -1, wide)).view(len(params), high, wide)
        size = 0.2 * max(high // parts, wide) ** 0.5
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, list(update.unbind()), alpha=-group["lr"] * size)


def make_optimisers(named: list[tuple[str, nn.Parameter]], lr: float) -> list[torch.optim.Optimizer]:
    """What a visual expert writes back moves at a twentieth of the rate: patches should keep their code.

    Those matrices start at zero, and Muon, blind to the size of a gradient, would drown the code in them.
    """

    def kind(name: str, p: nn.Parameter) -> str:
        if "vision_expert_dense" in name or "vision_mlp" in name:
            return "slow"
        return "matrix" if p.ndim == 2 and "embed" not in name and "lm_head" not in name else "other"

    sorted_by_kind = {k: [p for n, p in named if kind(n, p) == k] for k in ("matrix", "other", "slow")}
    groups = [{"params": sorted_by_kind["other"]}, {"params": sorted_by_kind["slow"], "scale": 0.05}]
    adam = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(sorted_by_kind["matrix"], lr=lr), adam]


def rate_at(step: int, steps: int, peak: float) -> float:
    """Warms up for 100 steps, stays, and falls straight to nothing over the last 40 %."""
    return peak * min(1.0, (step + 1) / 100, (steps - step) / (0.4 * steps))


def set_rate(optimisers, lr: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, keep: float = 0.998) -> None:
    keep = min(keep, (1 + step) / (10 + step))
    means = list(average.parameters())
    torch._foreach_mul_(means, keep)
    torch._foreach_add_(means, list(model.parameters()), alpha=1 - keep)
