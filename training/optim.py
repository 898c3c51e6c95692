"""Muon for the matrices inside the blocks, AdamW for everything else; and an average of the weights."""

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
    x = g.bfloat16() if fast.half else g
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
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(m, group["momentum"])
                # Fused projections are several square matrices on top of each other.
                parts = p.shape[0] // p.shape[1] if p.shape[0] % p.shape[1] == 0 else 1
                update = orthogonalise(g.view(parts, -1, p.shape[1])).reshape(p.shape)
                size = 0.2 * max(p.shape[0] // parts, p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * size)


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
    for mean, p in zip(average.parameters(), model.parameters()):
        mean.lerp_(p, 1 - keep)
