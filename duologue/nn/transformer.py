"""A causal transformer with RoPE, grouped-query attention, RMSNorm, a gated FFN and a sliding window.

Streaming keeps the last `window` keys and values of each layer in a ring, so a conversation of any length runs in
constant memory. Each row of the batch has its own position: rows of different ages share a step.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from duologue.nn.streaming import State, StreamingModule, hold

if TYPE_CHECKING:
    from duologue.nn.fused import FusedTransformer


class TransformerConfig(BaseModel):
    """Shape of a transformer: `dim` wide, `layers` deep, attending to the last `window` positions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int
    layers: int
    heads: int
    kv_heads: int | None = None  # fewer than `heads` for grouped-query attention; None: as many as `heads`
    hidden: int | None = None  # width of the gated FFN; None: 8/3 of dim, which costs what a plain 4x FFN does
    window: int = 256
    rope_base: float = 10_000.0

    @model_validator(mode="after")
    def _check(self) -> TransformerConfig:
        if self.dim % self.heads or self.dim // self.heads % 2:
            raise ValueError(f"dim {self.dim} must be an even multiple of heads {self.heads}")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")
        return self

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


def as_type(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x.to(dtype)`, without asking PyTorch where that changes nothing: a step would ask hundreds of times."""
    return x if x.dtype == dtype else x.to(dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich, 2019) over the last dimension, computed in float32.

    A step normalises a single vector many times a frame; written so, that is half of the cost of PyTorch's own.
    """

    epsilon: Tensor

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.scale = dim**-0.5
        self.register_buffer("epsilon", torch.tensor(eps**0.5), persistent=False)
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = as_type(x, torch.float32)
        rms = torch.linalg.vector_norm(y, dim=-1, keepdim=True) * self.scale
        y = y * self.weight / torch.hypot(rms, self.epsilon)  # the root of the mean of squares plus eps
        return as_type(y, x.dtype)


def frequencies(head_dim: int, base: float) -> Tensor:
    """RoPE's frequencies (head_dim / 2,) (Su et al., 2021)."""
    return base ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def rotations(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """What `rotate` takes, each (..., head_dim), for RoPE's angles at `positions` (...)."""
    angles = positions.to(torch.float32)[..., None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of channels of x (B, H, T, D), d and d + D / 2, by `rotations` that broadcast to it."""
    y = as_type(x, torch.float32)
    return as_type(torch.addcmul(y * cos, y.roll(y.shape[-1] // 2, -1), sin), x.dtype)


@dataclass
class AttentionState(State):
    """Rings of the last keys and values, (B, kv_heads, window, head_dim) each.

    Where they are int8, `scales` (B, 2, kv_heads, window) has what each key, and each value, is to be multiplied by;
    else it is empty. A step reads all of a row's rings, and with many rows it is that which takes the time.
    """

    keys: Tensor
    values: Tensor
    scales: Tensor

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Where in the rings the rows of a batch lie: (begin, end) of stretches, in the batch's order."""
        return [(0, len(self.keys))]

    @property
    def places(self) -> Tensor:
        """The same row by row, (B,)."""
        return torch.arange(len(self.keys), device=self.keys.device)

    def take(self, rows: Tensor) -> TakenAttentionState:
        """Rings are too large to be copied twice a step."""
        return TakenAttentionState(self.keys, self.values, self.scales, rows)

    def give(self, rows: Tensor, taken: AttentionState) -> None:
        """What was taken was stepped in place."""


@dataclass
class TakenAttentionState(AttentionState):
    """Some rows (N,) of the rings of a larger batch."""

    rows: Tensor

    @property
    def runs(self) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for row in self.rows.tolist():
            begin, end = runs.pop() if runs and runs[-1][1] == row else (row, row)
            runs.append((begin, end + 1))
        return runs

    @property
    def places(self) -> Tensor:
        return self.rows

    @torch.no_grad()
    def reset(self, rows: Tensor | None = None) -> None:
        places = self.rows if rows is None else self.rows[rows]
        self.keys[places] = self.values[places] = self.scales[places] = 0

    def take(self, rows: Tensor) -> TakenAttentionState:
        return TakenAttentionState(self.keys, self.values, self.scales, self.rows[rows])


@dataclass(frozen=True)
class Moment:
    """What all layers need to know of the position that is stepped.

    Attributes:
        cos: with `sin` what turns its queries and keys.
        slot: where each row's rings take it, (B,).
        mask: added to the scores of the places of a ring, (B, 1, 1, window).
        places: where the rows lie in the rings, (B,), and as stretches
        runs: of which each is attended to at once.
    """

    cos: Tensor
    sin: Tensor
    slot: Tensor
    mask: Tensor
    places: Tensor
    runs: list[tuple[int, int]]


Past = tuple[Tensor, Tensor]
"""Keys and values of all positions so far, (B, kv_heads, T, head_dim) each."""


class Attention(nn.Module):
    """Causal sliding-window self-attention over (B, T, dim)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.kv_heads = config.kv_heads or config.heads
        self.qkv = nn.Linear(config.dim, (config.heads + 2 * self.kv_heads) * config.head_dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def _project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        heads, kv_heads = self.config.heads, self.kv_heads
        qkv = self.qkv(x).view(batch, length, heads + 2 * kv_heads, self.config.head_dim).transpose(1, 2)
        turned = rotate(qkv[:, : heads + kv_heads], cos, sin)
        return turned[:, :heads], turned[:, heads:], qkv[:, heads + kv_heads :]

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self._project(x, cos, sin)
        y = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=self.kv_heads != self.config.heads
        )
        return cast(Tensor, self.out(y.transpose(1, 2).flatten(2)))

    def step(self, x: Tensor, now: Moment, state: AttentionState, active: Tensor | None) -> Tensor:
        """One position of every row, x (B, 1, dim)."""
        query, key, value = self._project(x, now.cos, now.sin)
        for ring, new in ((state.keys, key), (state.values, value)):
            kept = as_type(new[:, :, 0], ring.dtype)
            if active is not None:
                kept = hold(kept, ring[now.places, :, now.slot], active)
            ring[now.places, :, now.slot] = kept
        parts: list[Tensor] = []
        done = 0
        for begin, end in now.runs:
            rows = slice(done, done := done + end - begin)
            parts.append(self._attend(query[rows], state.keys[begin:end], state.values[begin:end], now.mask[rows]))
        return cast(Tensor, self.out(parts[0] if len(parts) == 1 else torch.cat(parts)))

    def extend(self, x: Tensor, cos: Tensor, sin: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """One position more of sequences of one age, x (B, 1, dim) -> (B, 1, dim), and the past with it."""
        query, key, value = self._project(x, cos, sin)
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        return cast(Tensor, self.out(self._attend(query, key, value, None))), (key, value)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """One query a row (B, heads, 1, D) over keys and values (B, kv_heads, T, D) -> (B, 1, heads * D).

        Written out, since PyTorch's own takes half as long again for a single query of many rows.
        """
        grouped = query.reshape(len(query), self.kv_heads, -1, self.config.head_dim)
        scores = torch.matmul(grouped * self.config.head_dim**-0.5, as_type(keys, query.dtype).transpose(-1, -2))
        if mask is not None:
            scores = scores + mask
        return torch.matmul(scores.softmax(-1), as_type(values, query.dtype)).reshape(len(query), 1, -1)


class Block(nn.Module):
    """Attention and a gated FFN, each behind an RMSNorm and added to the residual stream (B, T, dim)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        hidden = config.hidden or -(-config.dim * 8 // 3 // 32) * 32
        self.attention_norm = RMSNorm(config.dim)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.dim)
        self.gate_up = nn.Linear(config.dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, config.dim, bias=False)

    def ffn(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + cast(Tensor, self.down(F.silu(gate) * up))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        return self.ffn(x + self.attention(self.attention_norm(x), cos, sin, mask))


@dataclass
class TransformerState(State):
    """Each layer's ring, and each row's age in positions, (B,) int64."""

    layers: list[AttentionState]
    position: Tensor


class Transformer(StreamingModule[TransformerState]):
    """A stack of blocks and a last norm: (B, T, dim) -> (B, T, dim), causal, position by position equal in `step`."""

    frequencies: Tensor
    slots: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.register_buffer("frequencies", frequencies(config.head_dim, config.rope_base), persistent=False)
        self.register_buffer("slots", torch.arange(config.window), persistent=False)
        cos, sin = rotations(self.slots, self.frequencies)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.norm = RMSNorm(config.dim)
        self._fused: FusedTransformer | None = None
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # Branches that add to the residual stream start small, so that depth doesn't blow it up (GPT-2).
                scale = (2 * config.layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(parameter, std=scale * parameter.shape[1] ** -0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim); `mask` (T, T) or (B, 1, T, T) bool, true where a query may look, replaces the window."""
        length = x.shape[1]
        positions = torch.arange(length, device=x.device)
        cos, sin = rotations(positions, self.frequencies)
        if mask is None and length > self.config.window:
            distance = positions[:, None] - positions[None, :]
            mask = (distance >= 0) & (distance < self.config.window)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return cast(Tensor, self.norm(x))

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> TransformerState:
        kv_heads, window = self.config.kv_heads or self.config.heads, self.config.window
        scaled = 0 if self._fused is None else window
        dtype = dtype if self._fused is None else torch.int8

        def ring() -> Tensor:
            return torch.zeros(batch, kv_heads, window, self.config.head_dim, device=device, dtype=dtype)

        layers = [
            AttentionState(ring(), ring(), torch.zeros(batch, 2, kv_heads, scaled, device=device)) for _ in self.blocks
        ]
        return TransformerState(layers, torch.zeros(batch, dtype=torch.int64, device=device))

    def step(self, x: Tensor, state: TransformerState, active: Tensor | None = None) -> Tensor:
        """The next T positions, x (B, T, dim) -> (B, T, dim)."""
        return torch.cat([self._step(frame, state, active) for frame in torch.split(x, 1, dim=1)], dim=1)

    def _step(self, x: Tensor, state: TransformerState, active: Tensor | None) -> Tensor:
        window = self.config.window
        cos, sin = rotations(state.position[:, None, None], self.frequencies)
        if self._fused is not None:
            y = self._fused.step(x, cos, sin, state, active)
            state.position += 1 if active is None else active.to(state.position.dtype)
            return y
        slot = state.position % window
        # A slot is filled once the row has reached it; after the first lap all are.
        filled = (self.slots <= state.position[:, None])[:, None, None]
        # Added to the scores as it is; from a bool mask every layer would make this anew.
        mask = torch.zeros_like(filled, dtype=x.dtype).masked_fill_(~filled, -torch.inf)
        now = Moment(cos, sin, slot, mask, state.layers[0].places, state.layers[0].runs)
        for block, layer in zip(cast("list[Block]", list(self.blocks)), state.layers, strict=True):
            x = block.ffn(x + block.attention.step(block.attention_norm(x), now, layer, active))
        state.position += 1 if active is None else active.to(state.position.dtype)
        return cast(Tensor, self.norm(x))

    def fuse(self) -> None:
        """Take steps by `nn.fused` from here on, where Numba is installed; the weights must stay as they are."""
        if importlib.util.find_spec("numba"):
            from duologue.nn.fused import FusedTransformer, weights_of

            weights = weights_of(self)
            if weights is not None:
                self._fused = FusedTransformer(weights, self)

    def extend(self, x: Tensor, past: list[Past]) -> Tensor:
        """The next position, x (B, 1, dim) -> (B, 1, dim), of sequences that begin together and end within the window.

        They need no rings and no masks. `past`, empty at first, holds what each layer keeps of them.
        """
        at = past[0][0].shape[2] if past else 0
        cos, sin = self.cos[at], self.sin[at]
        for index, block in enumerate(cast("list[Block]", list(self.blocks))):
            y, kept = block.attention.extend(block.attention_norm(x), cos, sin, past[index] if at else None)
            past[index : index + 1] = [kept]
            x = block.ffn(x + y)
        return cast(Tensor, self.norm(x))
