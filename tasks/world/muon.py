"""Muon (Jordan et al., 2024): momentum, then the nearest semi-orthogonal matrix as the update of each weight matrix.

    M <- momentum * M + G;   U = NewtonSchulz5(G + momentum * M);   W <- W - lr * sqrt(max(1, rows / columns)) * U

The constants are torch.optim.Muon's. That one iterates in bfloat16, which a CPU without bfloat16 units emulates about
twenty times slower than float32; this one stays in float32 and takes all matrices of one shape in one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


class Muon(torch.optim.Optimizer):
    """The optimizer; for two-dimensional weights only."""

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update from the gradients at hand."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                updates = orthogonalise(torch.stack([self._nesterov(weight, group["momentum"]) for weight in weights]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update, alpha=-group["lr"] * scale)

    def _nesterov(self, weight: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(average, momentum)


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz iteration on a batch (n, rows, columns): singular values go to about 1, directions stay."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
