"""How continuous features enter a model: strided causal convolutions from hops to frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from duologue.nn.conv import CausalConv1d, ConvNeXtBlock, ConvState
from duologue.nn.streaming import State, StreamingModule


@dataclass
class FeatureEncoderState(State):
    """States of the convolutions and blocks, in order."""

    layers: list[ConvState]


class FeatureEncoder(StreamingModule[FeatureEncoderState]):
    """Features (B, F * hops, size) -> frames (B, F, dim); `hops` is a power of two, each halving a strided convolution.

    Causal, so frame t depends on the hops up to (t + 1) * hops only.

    Args:
        blocks: how many ConvNeXt blocks follow each halving; None: one.
    """

    def __init__(self, size: int, hops: int, dim: int, blocks: Sequence[int] | None = None) -> None:
        super().__init__()
        halvings = hops.bit_length() - 1
        if 1 << halvings != hops or hops < 2:
            raise ValueError(f"{hops} hops a frame is not a power of two above 1")
        blocks = [1] * halvings if blocks is None else blocks
        if len(blocks) != halvings:
            raise ValueError(f"blocks after {len(blocks)} halvings, but {hops} hops a frame are {halvings}")
        widths = [size, *(max(8, dim * (step + 2) // (halvings + 2) // 8 * 8) for step in range(halvings - 1)), dim]
        layers: list[StreamingModule[ConvState]] = []
        for (cin, cout), count in zip(pairwise(widths), blocks, strict=True):
            layers += [CausalConv1d(cin, cout, kernel=4, stride=2), *(_block(cout) for _ in range(count))]
        self.layers = nn.ModuleList(layers)

    @torch.no_grad()
    def grow(self, blocks: Sequence[int]) -> None:
        """Let `blocks` follow each halving, no fewer than now; the new ones pass all on as it is until they learn.

        Raises:
            ValueError: a halving has more blocks already, or there are more or fewer halvings.
        """
        groups: list[list[nn.Module]] = []
        widths: list[int] = []
        for layer in self.layers:
            if isinstance(layer, CausalConv1d):
                groups.append([])
                widths.append(layer.conv.out_channels)
            groups[-1].append(layer)
        if len(blocks) != len(groups) or any(n < len(g) - 1 for n, g in zip(blocks, groups, strict=True)):
            have = ", ".join(str(len(group) - 1) for group in groups)
            raise ValueError(f"an ear of {have} blocks cannot grow to {', '.join(map(str, blocks))}")
        for group, width, count in zip(groups, widths, blocks, strict=True):
            for _ in range(count - (len(group) - 1)):
                block = _block(width)
                block.contract.weight.zero_()
                block.contract.bias.zero_()
                group.append(block)
        self.layers = nn.ModuleList(layer for group in groups for layer in group)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        for layer in self.layers:
            y = layer(y)
        return y.transpose(1, 2)

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> FeatureEncoderState:
        return FeatureEncoderState([layer.init_state(batch, device, dtype) for layer in self.layers])  # type: ignore[operator]

    def step(self, x: Tensor, state: FeatureEncoderState, active: Tensor | None = None) -> Tensor:
        y = x.transpose(1, 2)
        for layer, layer_state in zip(self.layers, state.layers, strict=True):
            y = layer.step(y, layer_state, active)  # type: ignore[operator]
        return y.transpose(1, 2)


def _block(width: int) -> ConvNeXtBlock:
    return ConvNeXtBlock(width, 2 * width, kernel=5)
