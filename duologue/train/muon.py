"""Muon with its products in the precision that the machine is good at.

PyTorch's own always orthogonalises in bfloat16. On a processor that has to emulate it, that took a third of a
training step; in float32 it takes a sixth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from duologue.nn.arithmetic import fast_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic of Jordan et al. (2024), steepest at zero."""
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is brought to the nearest orthogonal matrix (Jordan et al. 2024).

    The update is scaled to the RMS of AdamW's (Liu et al. 2025), and weights decay apart from it. For matrices only.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                update = orthogonal(matrix.grad.lerp(state["momentum_buffer"], momentum))
                matrix.mul_(1 - lr * group["weight_decay"])
                matrix.add_(update, alpha=-lr * 0.2 * math.sqrt(max(matrix.shape)))
        return loss


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with singular values near 1 in place of its own, by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16() if fast_bf16(matrix.device) else matrix
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
