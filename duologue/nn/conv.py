"""Causal convolutions that stream: plain, transposed, and the ConvNeXt block built on the depthwise one.

Tensors are (B, C, T). Nothing sees its future: output `t` of a convolution of stride `s` depends on the inputs up to
`(t + 1) * s` (exclusive), so a chunk whose length is a multiple of the stride can be processed as it arrives.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duologue.nn.int8 import Int8Linear
from duologue.nn.streaming import State, StreamingModule, hold

if TYPE_CHECKING:
    from duologue.nn.fused import FusedConvNeXt


@dataclass
class ConvState(State):
    """The inputs that the next outputs still need: (B, C, span - stride)."""

    past: Tensor


@dataclass
class ConvTransposeState(State):
    """What past inputs add to the next outputs: (B, C, kernel - stride)."""

    tail: Tensor


class CausalConv1d(StreamingModule[ConvState]):
    """Convolution (B, cin, T) -> (B, cout, T / stride) over the present and the past; T is a multiple of the stride.

    Raises:
        ValueError: the kernel spans less than one stride, so inputs would be skipped.
    """

    def __init__(
        self, cin: int, cout: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        span = (kernel - 1) * dilation + 1
        if span < stride:
            raise ValueError(f"a kernel that spans {span} inputs skips some at stride {stride}")
        self.stride = stride
        self.context = span - stride
        self.conv = nn.Conv1d(cin, cout, kernel, stride, dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return self._convolve(F.pad(x, (self.context, 0)))

    def init_state(self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> ConvState:
        return ConvState(torch.zeros(batch, self.conv.in_channels, self.context, device=device, dtype=dtype))

    def step(self, x: Tensor, state: ConvState, active: Tensor | None = None) -> Tensor:
        self._check(x)
        # (B, T, C) in memory, as linear layers leave it: that is what the sums below read fastest.
        seen = torch.cat((state.past.transpose(1, 2), x.transpose(1, 2)), 1)
        state.past = hold(seen[:, seen.shape[1] - self.context :].transpose(1, 2), state.past, active)
        weight, bias = self.conv.weight, self.conv.bias
        kernel = weight.shape[-1]
        depthwise = weight.shape[1] == 1 and self.conv.groups == len(weight) and self.stride == 1
        if self.conv.dilation[0] > 1 or (self.conv.groups > 1 and not depthwise):
            return self._convolve(seen.transpose(1, 2))
        # For the few frames of a step, calling the convolution kernels costs more than the arithmetic.
        windows = seen.unfold(1, kernel, self.stride)  # (B, T / stride, C, kernel)
        if depthwise:
            first, *taps = zip(windows.unbind(-1), weight[:, 0].unbind(-1), strict=True)
            y = first[0] * first[1]
            for inputs, tap in taps:
                y = y.addcmul_(inputs, tap)
            return (y if bias is None else y.add_(bias)).transpose(1, 2)
        return F.linear(windows.transpose(2, 3).flatten(2), weight.transpose(1, 2).flatten(1), bias).transpose(1, 2)

    def _check(self, x: Tensor) -> None:
        if x.shape[-1] % self.stride:
            raise ValueError(f"{x.shape[-1]} inputs are not a multiple of the stride {self.stride}")

    def _convolve(self, padded: Tensor) -> Tensor:
        y: Tensor = self.conv(padded)
        return y


class CausalConvTranspose1d(StreamingModule[ConvTransposeState]):
    """Transposed convolution (B, cin, T) -> (B, cout, T * stride); an input reaches `kernel` outputs forward.

    Raises:
        ValueError: the kernel is shorter than the stride, so some outputs would see nothing.
    """

    def __init__(self, cin: int, cout: int, kernel: int, stride: int) -> None:
        super().__init__()
        if kernel < stride:
            raise ValueError(f"a kernel of {kernel} leaves holes at stride {stride}")
        self.stride = stride
        self.overlap = kernel - stride
        self.conv = nn.ConvTranspose1d(cin, cout, kernel, stride, bias=False)
        # Apart from the convolution: where two chunks overlap, a bias inside it would be added twice.
        self.bias = nn.Parameter(torch.zeros(cout, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y[..., : x.shape[-1] * self.stride] + self.bias

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ConvTransposeState:
        return ConvTransposeState(torch.zeros(batch, self.conv.out_channels, self.overlap, device=device, dtype=dtype))

    def step(self, x: Tensor, state: ConvTransposeState, active: Tensor | None = None) -> Tensor:
        pieces = (x.transpose(1, 2) @ self.conv.weight.flatten(1)).transpose(1, 2)
        kernel, length = self.conv.weight.shape[-1], x.shape[-1] * self.stride + self.overlap
        y = F.fold(pieces, (1, length), (1, kernel), stride=(1, self.stride))[:, :, 0]
        y[..., : self.overlap] += state.tail
        ready = x.shape[-1] * self.stride
        state.tail = hold(y[..., ready:], state.tail, active)
        return y[..., :ready] + self.bias


class ConvNeXtBlock(StreamingModule[ConvState]):
    """Depthwise causal convolution, layer norm over the channels, a feed-forward layer; residual (B, dim, T).

    Liu et al., "A ConvNet for the 2020s" (2022), in one dimension. `scale` is the initial layer scale.
    """

    def __init__(self, dim: int, hidden: int, kernel: int = 7, scale: float = 0.1) -> None:
        super().__init__()
        self.depthwise = CausalConv1d(dim, dim, kernel, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))
        self._fused: FusedConvNeXt | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x + self._mix(self.depthwise(x))

    def init_state(self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> ConvState:
        return self.depthwise.init_state(batch, device, dtype)

    def step(self, x: Tensor, state: ConvState, active: Tensor | None = None) -> Tensor:
        if self._fused is not None and active is None:
            y, state.past = self._fused.step(x, state.past)
            return y
        return x + self._mix(self.depthwise.step(x, state, active))

    def fuse(self) -> None:
        """Take steps by `nn.fused` from here on, where Numba is installed and its matrices are int8; they must stay."""
        if importlib.util.find_spec("numba") and all(
            isinstance(part, Int8Linear) for part in (self.expand, self.contract)
        ):
            from duologue.nn.fused import FusedConvNeXt

            self._fused = FusedConvNeXt(self)

    def _mix(self, x: Tensor) -> Tensor:
        y: Tensor = self.contract(F.gelu(self.expand(self.norm(x.transpose(1, 2)))))
        return (y * self.scale).transpose(1, 2)


@torch.no_grad()
def lay_out_for_steps(module: nn.Module) -> None:
    """Store the weights of linear layers and convolutions input by input, in place; their values and shapes stay.

    A step multiplies a vector or two by each matrix: in this order it reads memory from front to back, which makes it
    about twice as fast.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = layer.weight.data.t().contiguous().t()
        elif isinstance(layer, nn.Conv1d):
            layer.weight.data = layer.weight.data.permute(2, 1, 0).contiguous().permute(2, 1, 0)


class ChannelNorm(StreamingModule[State]):
    """Layer norm over the channels of (B, C, T); nothing to remember."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.transpose(1, 2))
        return y.transpose(1, 2)

    def init_state(self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> State:
        return State()

    def step(self, x: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        return self.forward(x)


@dataclass
class ChainState(State):
    """One state a module, in order."""

    items: list[State]


class Chain(StreamingModule[ChainState]):
    """Streaming modules one after the other."""

    def __init__(self, *modules: StreamingModule[Any]) -> None:
        super().__init__()
        self.items = nn.ModuleList(modules)

    def __iter__(self) -> Iterator[StreamingModule[Any]]:
        return cast(Iterator[StreamingModule[Any]], iter(self.items))

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ChainState:
        return ChainState([module.init_state(batch, device, dtype) for module in self])

    def step(self, x: Tensor, state: ChainState, active: Tensor | None = None) -> Tensor:
        for module, inner in zip(self, state.items, strict=True):
            x = module.step(x, inner, active)
        return x
