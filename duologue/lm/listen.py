"""How continuous features enter a model: strided causal convolutions from hops to frames."""

from __future__ import annotations

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
    """

    def __init__(self, size: int, hops: int, dim: int) -> None:
        super().__init__()
        halvings = hops.bit_length() - 1
        if 1 << halvings != hops or hops < 2:
            raise ValueError(f"{hops} hops a frame is not a power of two above 1")
        widths = [size, *(max(8, dim * (step + 2) // (halvings + 2) // 8 * 8) for step in range(halvings - 1)), dim]
        layers: list[StreamingModule[ConvState]] = []
        for cin, cout in pairwise(widths):
            layers += [CausalConv1d(cin, cout, kernel=4, stride=2), ConvNeXtBlock(cout, 2 * cout, kernel=5)]
        self.layers = nn.ModuleList(layers)

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
