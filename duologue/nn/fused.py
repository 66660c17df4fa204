"""Steps of transformers and ConvNeXt blocks with int8 weights, by compiled loops where Numba is installed.

In PyTorch a step is hundreds of operations on a vector or two, and to start each takes longer than its arithmetic; one
loop over the same weights takes all of them. For many vectors it is the arithmetic that takes the time: then the
matrices are multiplied by PyTorch's kernel for them, and the loops do what lies between. What is in one row of a batch
changes nothing in another; how many rows there are may change a last bit, of float32 or of that kernel's bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.nn.int8 import Int8Linear
from duologue.nn.kernels import Weights, add_branch, bend, convnext, gate, layers, look, mix_frames, normalise

if TYPE_CHECKING:
    from duologue.nn.conv import ConvNeXtBlock
    from duologue.nn.transformer import Block, RMSNorm, Transformer, TransformerState


def array(tensor: Tensor) -> NDArray[Any]:
    """A tensor's values as NumPy sees them, in its own memory where they lie in order."""
    return tensor.detach().contiguous().numpy()


def epsilon_of(norm: RMSNorm) -> np.float32:
    return np.float32(norm.epsilon.item() ** 2)


def weights_of(transformer: Transformer) -> Weights | None:
    """What `layers` takes; None where a matrix is not int8."""
    blocks = cast("list[Block]", list(transformer.blocks))
    matrices: dict[str, list[Int8Linear]] = {}
    for name in ("attention.qkv", "attention.out", "gate_up", "down"):
        matrices[name] = [part for block in blocks if isinstance(part := block.get_submodule(name), Int8Linear)]
        if len(matrices[name]) < len(blocks):
            return None

    def stacked(tensors: Iterable[Tensor]) -> NDArray[Any]:
        return array(torch.stack(list(tensors)))

    def kept(name: str) -> Weights:
        return stacked(part.weight for part in matrices[name]), stacked(part.scale for part in matrices[name])

    return (
        stacked(block.attention_norm.weight for block in blocks),
        *kept("attention.qkv"),
        *kept("attention.out"),
        stacked(block.ffn_norm.weight for block in blocks),
        *kept("gate_up"),
        *kept("down"),
        array(transformer.norm.weight),
    )


class FusedTransformer:
    """Steps for a `Transformer` whose weights stay as they are."""

    def __init__(self, weights: Weights, transformer: Transformer) -> None:
        self._weights = weights
        self._config = transformer.config
        self._epsilon = epsilon_of(transformer.norm)
        self._blocks = cast("list[Block]", list(transformer.blocks))

    def step(
        self, x: Tensor, cos: Tensor, sin: Tensor, state: TransformerState, active: Tensor | None = None
    ) -> Tensor:
        """x (B, 1, dim) -> (B, 1, dim), as `Transformer._step` does; cos and sin broadcast to (B, H, 1, D)."""
        config = self._config
        turned = (len(x), config.heads + (config.kv_heads or config.heads), 1, config.head_dim)
        rows = slice(None) if active is None else active.nonzero()[:, 0]
        positions = state.position[rows].numpy()
        awake = x[rows, 0].clone()
        turns = array(cos.expand(turned)[rows, :, 0]), array(sin.expand(turned)[rows, :, 0])
        rings = (
            tuple(layer.keys.numpy() for layer in state.layers),
            tuple(layer.values.numpy() for layer in state.layers),
            tuple(layer.scales.numpy() for layer in state.layers),
        )
        place = (
            array(state.layers[0].places[rows]),
            positions % config.window,
            np.minimum(positions + 1, config.window),
        )
        y = torch.zeros_like(x[:, 0])
        if cast(Int8Linear, self._blocks[0].down).has_kernel_for(len(awake)):
            y[rows] = self._step_many(awake, turns, rings, place)
        else:
            told = self._weights, self._epsilon, config.heads
            y[rows] = torch.from_numpy(layers(awake.numpy(), *told, *turns, *rings, *place))
        return y[:, None]

    def _step_many(
        self,
        x: Tensor,
        turns: tuple[NDArray[Any], NDArray[Any]],
        rings: tuple[Sequence[NDArray[Any]], Sequence[NDArray[Any]], Sequence[NDArray[Any]]],
        place: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    ) -> Tensor:
        """What `layers` does with the same, x (N, dim) -> (N, dim), with a kernel for matrices; x is used up."""
        config, norms, ffn_norms, last = self._config, self._weights[0], self._weights[5], self._weights[10]
        normed = torch.empty_like(x)
        mixed = torch.empty(len(x), config.heads, config.head_dim)
        for block, norm, ffn_norm, keys, values, scales in zip(self._blocks, norms, ffn_norms, *rings, strict=True):
            normalise(x.numpy(), norm, self._epsilon, normed.numpy())
            projected = block.attention.qkv(normed).view(len(x), -1, config.head_dim)
            look(projected.numpy(), config.heads, *turns, keys, values, scales, *place, mixed.numpy())
            x += block.attention.out(mixed.flatten(1))
            normalise(x.numpy(), ffn_norm, self._epsilon, normed.numpy())
            opened = block.gate_up(normed)
            gated = opened.new_empty(len(x), opened.shape[1] // 2)
            gate(opened.numpy(), gated.numpy())
            x += block.down(gated)
        normalise(x.numpy(), last, self._epsilon, normed.numpy())
        return normed


class FusedConvNeXt:
    """Steps for a `ConvNeXtBlock` whose weights stay as they are."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        depthwise = block.depthwise.conv
        assert depthwise.bias is not None
        self._expand, self._contract = cast(Int8Linear, block.expand), cast(Int8Linear, block.contract)
        self._depthwise: Weights = (
            array(depthwise.weight[:, 0].t()),
            array(depthwise.bias),
            array(block.norm.weight),
            array(block.norm.bias),
            np.float32(block.norm.eps),
        )
        self._widen, self._narrow = (
            (array(part.weight), array(part.scale), array(part.bias)) for part in (self._expand, self._contract)
        )
        self._gain = array(block.scale)

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, T) and the frames before it (B, C, kernel - 1) -> what `ConvNeXtBlock.step` gives; the next past."""
        seen = torch.cat((past.transpose(1, 2), x.transpose(1, 2)), 1)
        if self._expand.has_kernel_for(len(x) * x.shape[-1]):
            opened = self._expand.unbiased(torch.from_numpy(mix_frames(seen.numpy(), *self._depthwise)))
            bend(opened.numpy(), self._widen[2])
            branch = self._contract.unbiased(opened)
            y = add_branch(branch.numpy(), self._narrow[2], self._gain, seen.numpy())
        else:
            y = convnext(seen.numpy(), self._depthwise, self._widen, self._narrow, self._gain)
        return torch.from_numpy(y).transpose(1, 2), seen[:, x.shape[-1] :].transpose(1, 2)
