"""Layers whose weights stay int8 in memory, as they are stored in a packed model.

A step multiplies a few vectors by every matrix of the model, so its time is that of reading the weights: a byte each
instead of four makes it two to four times faster. From some number of vectors on it is the arithmetic that takes the
time, and a kernel for matrices is up to twice as fast: with the same values kept in bfloat16 as well where the machine
multiplies those, in float32 elsewhere. Each multiplies vectors in bfloat16 and adds up in float32, row by row, so that
what is in one row is never in another's rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duologue.nn.arithmetic import fast_bf16
from duologue.nn.embedding import TiedEmbedding

SMALLEST = 16_384  # weights below which int8 saves nothing worth an error
MANY = 6  # vectors
MANY_FLOAT32 = 16  # vectors, where products of bfloat16 would have to be emulated
STRIDE = 8  # that kernel is given a multiple of so many: oneDNN makes and keeps code for each number
LANES = 32  # the kernel reads so many inputs at once, and past the end of a row of any other length


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) as int8, and the float32 scale (out, 1) of each row.

    A row's values are divided by its largest magnitude over 127 and rounded, an error below 0.4% of that magnitude.
    """
    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12).half().float() / 127
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale


class _Int8(nn.Module):
    """A matrix (out, in) as int8; in a state dict it is float32, like any other weight."""

    scale: Tensor
    ones: Tensor
    _tiles: Tensor | None
    _floats: Tensor | None

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        values, scale = to_int8(weight.detach().contiguous())
        self.weight = nn.Parameter(values, requires_grad=False)
        self.register_buffer("scale", scale[:, 0], persistent=False)
        # The kernel takes its scales in bfloat16, too coarse for a row's: it is given none.
        self.register_buffer("ones", torch.ones(len(values), dtype=torch.bfloat16), persistent=False)
        self._tile(values)

    def _tile(self, values: Tensor) -> None:
        """Keep the values once more, exactly, for the kernel that serves many vectors."""
        self._tiles = self._floats = None
        if not fast_bf16(values.device):
            self._floats = values.float()
        elif torch.ops.mkldnn._is_mkldnn_bf16_supported():
            self._tiles = torch.ops.mkldnn._reorder_linear_weight(values.bfloat16(), MANY)

    def has_kernel_for(self, vectors: int) -> bool:
        """Whether so many vectors are multiplied by a kernel for matrices."""
        return vectors >= MANY if self._tiles is not None else self._floats is not None and vectors >= MANY_FLOAT32

    def _times(self, x: Tensor) -> Tensor:
        """x (..., in) times every row's int8 values -> (..., out); it is still to be multiplied by the scales."""
        shape = x.shape
        flat = x.reshape(-1, shape[-1]).bfloat16()
        count = flat.shape[0]
        many = self.has_kernel_for(count)
        if many and self._tiles is not None:
            padded = F.pad(flat, (0, 0, 0, -count % STRIDE))
            y: Tensor = torch.ops.mkldnn._linear_pointwise(padded, self._tiles, None, "none", [], "")[:count]
        elif many and self._floats is not None:
            y = F.linear(flat.float(), self._floats)
        else:
            y = torch._weight_int8pack_mm(flat, self.weight, self.ones)
        return y.view(*shape[:-1], -1)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight.float() * self.scale[:, None]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *told: Any) -> None:
        name = f"{prefix}weight"
        if name in state_dict:
            values, scale = to_int8(state_dict[name])
            self.scale.copy_(scale[:, 0])
            self._tile(values)
            state_dict = {**state_dict, name: values}
        super()._load_from_state_dict(state_dict, prefix, *told)


class Int8Linear(_Int8):
    """`nn.Linear` with int8 weights, for inference."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.weight)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out), float32."""
        y = self._times(x)
        return y * self.scale if self.bias is None else torch.addcmul(self.bias, y, self.scale)

    def unbiased(self, x: Tensor) -> Tensor:
        """`forward` without the bias, for those who add it with what comes next."""
        return self._times(x) * self.scale


def exactly(layer: nn.Module, x: Tensor) -> Tensor:
    """What a linear layer makes of x in float32, also where its weights are int8: for what is worked out once."""
    if isinstance(layer, Int8Linear):
        return F.linear(x, layer.weight.float() * layer.scale[:, None], layer.bias)
    y: Tensor = layer(x)
    return y


class Int8TiedEmbedding(_Int8):
    """`TiedEmbedding` with an int8 table, for inference."""

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) -> (..., dim), float32."""
        return self.weight[tokens].float() * self.scale[tokens][..., None]

    def logits(self, x: Tensor) -> Tensor:
        """x (..., dim) -> (..., rows - 1), float32."""
        return (self._times(x) * self.scale)[..., 1:]


def keep_int8(module: nn.Module) -> None:
    """Replace what multiplies by the matrices in `module` that `pack` stores as int8; those of odd widths stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear | TiedEmbedding):
                continue
            if child.weight.numel() >= SMALLEST and child.weight.shape[1] % LANES == 0:
                kept = Int8Linear(child) if isinstance(child, nn.Linear) else Int8TiedEmbedding(child.weight)
                setattr(parent, name, kept)
