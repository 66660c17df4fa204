"""Linear layers whose weights stay int8 in memory, as they are stored in a packed model.

A step multiplies a few vectors by every matrix of the model, so its time is that of reading the weights: a byte each
instead of four makes it two to four times faster. Vectors are multiplied in bfloat16 and added up in float32, row by
row: what one conversation hears is never in another's rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SMALLEST = 16_384  # weights below which int8 saves nothing worth an error
LANES = 32  # the kernel reads so many inputs at once, and past the end of a row of any other length


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) as int8, and the float32 scale (out, 1) of each row.

    A row's values are divided by its largest magnitude over 127 and rounded, an error below 0.4% of that magnitude.
    """
    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12).half().float() / 127
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights, for inference; in a state dict its weights are float32, like any other's."""

    scale: Tensor
    ones: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = to_int8(linear.weight.detach())
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = linear.bias
        self.register_buffer("scale", scale[:, 0], persistent=False)
        # The kernel takes its scales in bfloat16, too coarse for a row's: it is given none.
        self.register_buffer("ones", torch.ones(len(weight), dtype=torch.bfloat16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out), float32."""
        flat = x.reshape(-1, x.shape[-1]).bfloat16()
        y = torch._weight_int8pack_mm(flat, self.weight, self.ones) * self.scale
        if self.bias is not None:
            y = y + self.bias
        return y.view(*x.shape[:-1], -1)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight.float() * self.scale[:, None]


def keep_int8(module: nn.Module) -> None:
    """Replace the linear layers in `module` whose weights `pack` stores as int8; those of odd widths stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and child.weight.numel() >= SMALLEST and child.in_features % LANES == 0:
                setattr(parent, name, Int8Linear(child))
